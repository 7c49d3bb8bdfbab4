"""Which line of a plug-in's own code an exception came from."""

from pathlib import Path
from traceback import walk_tb

_HOSTS = {"midstream", "midstream_server", "midstream_provider", "midstream_proxy", "importlib", "runpy"}


def place(error: BaseException) -> str:
    """Return where in a plug-in an exception came from, in words to stand behind its message.

    The plug-in's file is the first one that a host called; of that file, the innermost line is named, not
    the line of a library that it called in turn. Nothing is returned where no plug-in is involved.

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
