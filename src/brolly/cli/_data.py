"""`brolly data`: commands about data sets."""

from __future__ import annotations

from cyclopts import App

data = App(name="data", help="Pack, show, verify, check and preview data sets.")
