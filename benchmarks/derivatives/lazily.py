"""Modules that are imported when they are first used; torchvision takes two seconds of imports."""

from importlib import import_module
from typing import Any


class Lazily:
    """A module in place of itself.

    Args:
        name: the module's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


torchvision = Lazily("torchvision")
models = Lazily("torchvision.models")
