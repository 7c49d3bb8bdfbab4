"""Whether this process captures functions as CUDA graphs. Without torch, so that `--help` is quick."""

_on = False


def switch(on: bool) -> None:
    """Choose whether functions are captured where that is possible; this holds for the whole process."""
    global _on
    _on = on


def switched_on() -> bool:
    """Return whether functions are captured where that is possible."""
    return _on
