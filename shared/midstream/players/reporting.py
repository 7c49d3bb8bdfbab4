"""Callbacks by which long work reports to whoever started it."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Prints a message for the operator."""

Tell = Callable[[int, int, str], None]
"""Receives progress: steps done, total steps, a short text. If it raises, the work stops."""
