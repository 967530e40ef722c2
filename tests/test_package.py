"""The package as a whole: what importing it costs, and that its examples run."""

import ast
import contextlib
import doctest
import importlib
import io
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import brolly

ROOT = Path(brolly.__file__).parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(ROOT)], "brolly.")
    if not module.name.endswith("__main__")
)


def imported(statement: str) -> set[str]:
    """Modules that a fresh interpreter holds after a statement."""
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_it_loads_nothing_heavy() -> None:
    assert not {"torch", "numpy", "pydantic", "matplotlib"} & imported("import brolly")


def test_help_needs_no_torch() -> None:
    loaded = imported(
        "from brolly.cli._main import run\nassert run(['--help']) == 0\n"
        "assert run(['train', '--help']) == 0"
    )
    assert not {"torch", "numpy", "pydantic", "matplotlib"} & loaded


def test_using_it_does_not_load_scipys_statistics() -> None:
    loaded = imported("import brolly\nbrolly.PGD, brolly.fit, brolly.evaluate, brolly.load_data")
    assert "torch" in loaded
    assert not {"scipy.stats", "sklearn", "matplotlib", "platformdirs"} & loaded


def test_every_public_name_is_there() -> None:
    stub = ast.parse((ROOT / "__init__.pyi").read_text())
    names = [alias.asname for node in stub.body for alias in node.names]
    assert len(names) > 40
    for name in names:
        assert getattr(brolly, name) is not None
    assert (ROOT / "py.typed").is_file()


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0, told.getvalue()
