"""The object behind a name: an entry point, an attribute of a module, or an attribute of a file."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Collection
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from midstream.players.culprit import place
from midstream.plugins.naming import LIBRARIES, SINGULAR, Kind, PluginError, installed, names, unknown


def find(kind: Kind, name: str, *, allowed: Collection[str] | None = None) -> Callable[..., Any]:
    """Return the class or function behind a name.

    Args:
        kind: the kind of plug-in.
        name: an entry point's name, `package.module:Name` or `path/file.py:Name`, without options; for a
            model also `torchvision:NAME` or `timm:NAME`.
        allowed: the paths that may be imported if the name came over a network; None allows all.
            Entry points are always allowed: whoever installed the package chose them.

    Raises:
        PluginError: there is no such name, module or attribute, or it is not allowed.
    """
    for entry in installed(kind).select(name=name):
        loaded: Callable[..., Any] = _load(entry.load, name, entry.module)
        return loaded
    library, _, network = name.partition(":")
    if kind == "models" and library in LIBRARIES:
        return _of_library(library, network)
    if ":" not in name and name.endswith(".py"):
        raise PluginError(f"{name!r} is a file; name an object in it, as {name}:Name")
    if ":" not in name:
        raise PluginError(unknown(SINGULAR[kind], name, names(kind), _otherwise(kind)))
    if allowed is not None and name not in allowed:
        raise PluginError(
            f"{SINGULAR[kind]} {name!r} is code that this process was not told to load; "
            f"start it with --allow {name}"
        )
    where, _, attribute = name.rpartition(":")
    module = _load(
        (lambda: file_module(where)) if where.endswith(".py") else (lambda: importlib.import_module(where)),
        name,
        where,
    )
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [key for key in dir(found) if not key.startswith("_")]
            raise PluginError(unknown(f"name in {where}", part, public))
        found = getattr(found, part)
    if not callable(found):
        raise PluginError(f"{name!r} is a {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]


def _otherwise(kind: Kind) -> str:
    libraries = "torchvision:NAME, timm:NAME, " * (kind == "models")
    return f"{libraries}package.module:Name or path/file.py:Name"


def _of_library(library: str, network: str) -> Callable[..., Any]:
    """Return the maker of a network of an installed library; as an entry point, it is always allowed."""
    from midstream.networks import libraries  # needs torch

    try:
        return libraries.maker(library, network)
    except libraries.UnknownNetworkError as error:
        raise PluginError(f"{library}:{network}: {error}") from error


@cache
def file_module(path: str) -> ModuleType:
    """Return a file as a module. A process executes each file once.

    Raises:
        PluginError: there is no such file.
    """
    if not Path(path).is_file():
        raise PluginError(
            f"there is no file {path!r}; its folder should be {str(Path(path).absolute().parent)!r}"
        )
    name = f"midstream_plugin_{sha256(str(Path(path).resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _load(importer: Callable[[], object], name: str, module: str) -> Any:
    """Return what the importer returns, its errors put in words."""
    try:
        return importer()
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise PluginError(
                f"{name!r}: there is no module {error.name!r}; is it installed, or its folder on PYTHONPATH?"
                + f" There is a file {module}.py: write {module}.py:Name for it."
                * Path(f"{module}.py").is_file()
            ) from error
        beside = Path(module).absolute().with_name(f"{error.name}.py")
        raise PluginError(
            f"{name!r}: importing {module!r} failed, since it needs {error.name!r}, which is not installed"
            + f"; there is one beside it: put {str(beside.parent)!r} on PYTHONPATH" * beside.is_file()
        ) from error
    except PluginError:
        raise
    except (Exception, SystemExit) as error:  # a module that calls sys.exit would end this process
        raise PluginError(f"{name!r}: importing {module!r} failed: {error!r}{place(error)}") from error
