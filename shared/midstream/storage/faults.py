"""The moments between two lasting effects, at which the test suite kills a process."""


def reached(moment: str) -> None:
    """Do nothing. The launcher of the chaos suite puts a function of its own in this one's place.

    Args:
        moment: what has just been done, such as `journalled`.
    """
