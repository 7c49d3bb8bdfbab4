"""Finds the line of a plug-in's own code that raised an exception."""

from pathlib import Path
from traceback import walk_tb

_HOSTS = {"midstream", "midstream_server", "midstream_provider", "midstream_proxy", "importlib", "runpy"}


def place(error: BaseException) -> str:
    """Return the place in a plug-in that raised an exception, as text to append to its message.

    The plug-in's file is the first one that a host called. The innermost line of that file is named, not the
    line of a library that the plug-in called in turn. The text is empty if no plug-in is involved.

    >>> place(SyntaxError("invalid syntax", ("folder/mine.py", 3, 1, "def (:")))
    ' (mine.py, line 3)'
    """
    called = [
        (frame.f_code.co_filename, line, frame.f_code.co_name)
        for frame, line in walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _HOSTS
    ]
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    if not called:
        return ""
    file, line, function = [found for found in called if found[0] == called[0][0]][-1]
    within = "" if function == "<module>" else f", in {function}"
    return f" ({Path(file).name}, line {line}{within})"
