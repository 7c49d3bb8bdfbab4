"""Names of a package whose modules are imported only when a name is first used (PEP 562)."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def on_first_use(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Return a `__getattr__` for a package that imports torch and the like, which takes seconds.

    Args:
        package: the package's name.
        homes: the names that each module defines, by the module's full name.

    >>> on_first_use("midstream", {"fractions": ["Fraction"]})("Fraction").__module__
    'fractions'
    """
    home = {name: module for module, names in homes.items() for name in names}

    def getattr_of_package(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return getattr_of_package
