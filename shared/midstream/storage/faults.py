"""Named moments between two durable effects, at which the test suite kills a process."""


def reached(moment: str) -> None:
    """Do nothing. The chaos suite's launcher replaces this function with its own.

    Args:
        moment: what has just happened, for example `journalled`.
    """
