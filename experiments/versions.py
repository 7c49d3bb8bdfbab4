"""The versions that a measurement was made with."""

import platform
from importlib import metadata

_PACKAGES = ("midstream", "torch", "numpy", "adversarial-robustness-toolbox", "niteshade")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed.

    >>> sorted(versions())[:2]
    ['midstream', 'numpy']
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return dict(sorted(found.items()))
