"""Torch without its compiler, whose import takes as long as that of the rest of torch.

Eager torch imports its compiler `torch._dynamo` to exempt functions from it: those of optimizers, and those
of `torch.func`. A process that compiles nothing needs no such exemption.
"""

import functools
import importlib
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from threading import Lock
from types import ModuleType
from typing import Any

import torch

_NAME = "torch._dynamo"
_REPLACING = Lock()


def defer_compiler() -> None:
    """Import torch's compiler when it is first used, for example by `torch.compile`, instead of always.

    This changes no result. It does nothing if the compiler is already imported.
    """
    if _NAME not in sys.modules:
        sys.modules[_NAME] = torch._dynamo = _Deferred()


class _Deferred(ModuleType):
    """Stands in for the compiler. It exempts torch's own functions; any other use imports the compiler."""

    def __init__(self) -> None:
        super().__init__(_NAME)
        self.__spec__ = find_spec(_NAME)
        self.__file__ = self.__spec__.origin if self.__spec__ else None
        self.compiled_autograd = _DeferredAutograd()

    def disable(self, function: Any = None, *args: Any, **settings: Any) -> Any:
        """Return a function that the compiler, once it is imported, does not compile."""
        if settings.get("wrapping", True):  # as users call it: of a function, a module, or nothing
            return _imported().disable(function, *args, **settings)
        return _exempted(function, *args, **settings)

    def graph_break(self, *args: Any, **settings: Any) -> None:
        """Do nothing if no graph can be compiled."""
        if (compiler := _if_imported()) is not None:
            compiler.graph_break(*args, **settings)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") and name != "__path__":  # asked of every module, for example by `inspect`
            raise AttributeError(f"module {_NAME!r} has no attribute {name!r}")
        return getattr(_imported(), name)


class _DeferredAutograd:
    """Stands in for the compiler of backward passes, which `torch.func` disables while it differentiates."""

    _disable = staticmethod(nullcontext)

    def __getattr__(self, name: str) -> object:
        return getattr(_imported().compiled_autograd, name)


def _exempted(function: Callable[..., object], *args: Any, **settings: Any) -> Callable[..., object]:
    @functools.cache
    def by(compiler: ModuleType) -> Callable[..., Any]:
        found: Callable[..., Any] = compiler.disable(function, *args, **settings)
        return found

    def call(*words: Any, **named: Any) -> Any:
        compiler = _if_imported()
        return (function if compiler is None else by(compiler))(*words, **named)

    return call


def _if_imported() -> ModuleType | None:
    """Return the compiler if its import is complete, which another thread may have begun."""
    found = sys.modules.get(_NAME)
    if found is None or isinstance(found, _Deferred):
        return None
    return None if getattr(found.__spec__, "_initializing", False) else found


def _imported() -> ModuleType:
    """Return the compiler; if another thread imports it now, wait until it has."""
    with _REPLACING:
        standing_in = sys.modules.get(_NAME)
        if isinstance(standing_in, _Deferred):
            del sys.modules[_NAME]
    try:
        torch._dynamo = importlib.import_module(_NAME)
    except BaseException:
        if isinstance(standing_in, _Deferred):
            sys.modules[_NAME] = standing_in
        raise
    return sys.modules[_NAME]
