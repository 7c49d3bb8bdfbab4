"""One base for every error of midstream, and a tree of them that is what the code says."""

import importlib
import pkgutil
import re
from types import ModuleType

import pytest

import midstream
import midstream_provider
import midstream_proxy
import midstream_server
from midstream import errors
from midstream.errors import MidstreamError

PACKAGES = [midstream, midstream_server, midstream_proxy, midstream_provider]


@pytest.fixture(scope="module", autouse=True)
def _everything_imported() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def below(base: type[Exception]) -> set[type[Exception]]:
    return {found for one in base.__subclasses__() for found in {one, *below(one)}}


def drawn() -> dict[str, str]:
    """Return each error of the tree in the docstring, and the one above it."""
    path, found = ["MidstreamError"], {}
    for line in str(errors.__doc__).splitlines():
        if branch := re.match(r"(│? *)[├└]── (\w+) ", line):
            depth = 1 if branch[1] == "" else 2
            del path[depth:]
            found[branch[2]] = path[-1]
            path.append(branch[2])
    return found


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    assert drawn() == {
        kind.__name__: next(base.__name__ for base in kind.__mro__[1:] if issubclass(base, MidstreamError))
        for kind in below(MidstreamError)
        if kind.__module__.startswith("midstream")
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_error_stands_outside_the_tree(package: ModuleType) -> None:
    strangers = {
        f"{kind.__module__}.{kind.__name__}"
        for kind in below(Exception)
        if kind.__module__.startswith(f"{package.__name__}.") and not kind.__name__.startswith("_")
        if not issubclass(kind, (MidstreamError, Warning))
    }
    assert strangers <= {
        "midstream.mathematics.derivatives.checking.evidence.FaultError"
    }  # never leaves its folder
