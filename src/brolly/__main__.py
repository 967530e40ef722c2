"""`python -m brolly`."""

from .cli import main

main()
