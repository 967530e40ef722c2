"""The `brolly` command."""

from ._main import main as main
