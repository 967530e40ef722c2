"""The commands, and how their errors reach the user."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, UnknownOptionError

from ._attacks import attacks
from ._check import check
from ._curve import curve
from ._data import data
from ._demo import demo
from ._diagnose import diagnose
from ._doctor import doctor
from ._evaluate import evaluate
from ._measure import measure
from ._obfuscate import obfuscate
from ._report import report
from ._study import study
from ._sweep import sweep
from ._train import train
from ._transfer import transfer
from ._verify import verify

#: Exit codes.
USER_ERROR, FAILED, INTERRUPTED = 2, 1, 130

#: Commands that take keys of a recipe.
_WITH_KEYS = ("train", "sweep", "curve", "diagnose")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 failed, 2 user error, 130 interrupted."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    try:
        return (
            _app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
            or 0  # --help and --version return None
        )
    except UnknownOptionError as error:
        return _complain(f"{error}{_without_dashes(error)}", USER_ERROR)
    except (CycloptsError, ValueError) as error:
        return _complain(str(error), USER_ERROR)
    except OSError as error:
        return _complain(
            f"{error.strerror or error}: {error.filename or 'while writing'}. Files that were "
            "complete are kept; once this is put right, the same command goes on",
            FAILED,
        )
    except ArithmeticError as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command goes on", INTERRUPTED)


def _app() -> App:
    app = App(
        name="brolly",
        help="Train PyTorch networks that stay right under perturbation, and measure how right.",
        version=_version,
        suppress_keyboard_interrupt=False,
    )
    for command in (
        demo,
        train,
        evaluate,
        measure,
        transfer,
        report,
        study,
        sweep,
        verify,
        check,
        diagnose,
        curve,
        obfuscate,
        data,
        doctor,
        attacks,
    ):
        app.command(command)
    return app


def _version() -> str:
    from .._environment import __version__

    return __version__


def _without_dashes(error: UnknownOptionError) -> str:
    """What to write if the option was meant for a key of a recipe."""
    name = error.token.keyword or error.token.value
    if "Did you mean" in str(error) or (error.command_chain or [""])[0] not in _WITH_KEYS:
        return ""
    return f" A key of the recipe is written without dashes: {name.lstrip('-')}=..."


def _complain(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
