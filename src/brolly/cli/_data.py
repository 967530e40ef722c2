"""`brolly data`: commands about data sets."""

from __future__ import annotations

from cyclopts import App

from ._data_check import check
from ._data_pack import pack, show, verify
from ._preview import preview

data = App(name="data", help="Pack, show, verify, check and preview data sets.")

data.command(preview)
data.command(pack)
data.command(show)
data.command(verify)
data.command(check)
