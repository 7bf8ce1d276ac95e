"""``python -m kforge``."""

from kforge.cli import main

main()
