"""Plug-ins with options: each option's text is converted by the annotation of the parameter it names."""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from midstream.players import checking
from midstream.players.wrappers.any_attacker import AROUND
from midstream.plugins.finding import find
from midstream.plugins.naming import SINGULAR, Kind, PluginError, numbered_level, parse, unknown

_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def configured(
    kind: Kind, text: str, *, allowed: Collection[str] | None = None, given: int = 0
) -> Callable[..., Any]:
    """Return the class or function that `name,option=value,…` names, with the options bound to it.

    Args:
        kind: the kind of plug-in.
        text: its name and its options.
        allowed: as for `find`.
        given: how many arguments the caller will pass by position; none of them is an option.

    Raises:
        PluginError: as for `find`; or an option is unknown, missing, or cannot be converted.

    >>> configured("models", "mnist-cnn,dropout=0.2", given=2).keywords
    {'dropout': 0.2}
    """
    name, options = parse(text)
    name, level = numbered_level(name, kind)
    if level and "k" in options:
        raise PluginError(f"{text!r} names its level twice; leave k out, or write level-k,k={options['k']}")
    factory = find(kind, name, allowed=allowed)
    groups: dict[str, list[tuple[str, ...]]] = {
        "attackers": [around.options for around in AROUND],
        "checkers": [checking.OPTIONS],
    }
    elsewhere = groups.get(kind, [])
    return bound(factory, name, level | options, SINGULAR[kind], given=given, elsewhere=elsewhere)


def bound(
    factory: Callable[..., object],
    name: str,
    options: Mapping[str, str],
    singular: str,
    *,
    given: int = 0,
    supplied: Collection[str] = (),
    elsewhere: Collection[Collection[str]] = (),
) -> Callable[..., Any]:
    """Return a class or function with options bound to it, each converted by the annotation of its parameter.

    Args:
        factory: the class or function.
        name: its name, for messages.
        options: the texts of the options.
        singular: what it is, such as `attacker`.
        given: how many arguments the caller will pass by position; none of them is an option.
        supplied: the arguments that the caller will pass by name; none of them is an option.
        elsewhere: groups of options that every one of its kind has, for messages. It lacks a group if it has
            one of the group's names itself.

    Raises:
        PluginError: an option is unknown, missing, or cannot be converted.
    """
    what = f"{singular} {name!r}"
    parameters, hints = _signature(factory, what)
    parameters = [
        parameter
        for parameter in parameters[given:]
        if parameter.kind not in _MANY and parameter.name not in supplied
    ]
    known = [parameter.name for parameter in parameters]
    values = {}
    for key, value in options.items():
        if key not in known:
            shared = [option for group in elsewhere if not set(known) & set(group) for option in group]
            raise PluginError(unknown(f"option of {what}", key, [*known, *shared]))
        values[key] = convert(value, hints.get(key, str), f"option {key!r} of {name!r}")
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.name not in values
    ]
    if needed:
        listing = " and ".join(map(repr, needed))
        written = ",".join([name, *(f"{key}=…" for key in needed)])
        raise PluginError(f"{what} needs the option{'s' * (len(needed) > 1)} {listing}; write {written}")
    return partial(factory, **values)


def _signature(
    factory: Callable[..., object], what: str
) -> tuple[list[inspect.Parameter], dict[str, object]]:
    try:
        parameters = list(inspect.signature(factory).parameters.values())
        described = factory.__init__ if inspect.isclass(factory) else factory
        return parameters, get_type_hints(
            described if inspect.isroutine(described) else type(described).__call__
        )
    except Exception as error:
        raise PluginError(f"the annotations of {what} cannot be read: {error!r}") from error


def convert(value: str, annotation: object, what: str) -> Any:
    """Return an option's text as the type of its annotation.

    Args:
        value: the text; `none`, `true` and `false` stand for None, True and False.
        annotation: int, float, bool, str, Path, Any, a Literal of texts, or one of these or None.
        what: the option in words, for messages.

    Raises:
        PluginError: the text is not of that type, or the annotation is another one.

    >>> convert("1e-3", float | None, "option 'rate'")
    0.001
    """
    if get_origin(annotation) in (Union, UnionType):
        if value == "none" and NoneType in get_args(annotation):
            return None
        only, *others = [one for one in get_args(annotation) if one is not NoneType]
        if not others:
            return convert(value, only, what)
    if annotation is bool:
        if value not in ("true", "false"):
            raise PluginError(f"{what} is {value!r}, not true or false")
        return value == "true"
    if get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            listed = get_args(annotation)
            raise PluginError(unknown(f"value of {what.removeprefix('option ')}", value, listed))
        return value
    if annotation in (int, float):
        try:
            number = annotation(value)
        except ValueError as error:
            whole = "whole " * (annotation is int)
            raise PluginError(f"{what} is {value!r}, not a {whole}number") from error
        if number != number:
            raise PluginError(f"{what} is {value!r}, which is not a number")
        return number
    if annotation in (str, Path, Any):
        return Path(value) if annotation is Path else value
    raise PluginError(
        f"{what} is annotated {annotation}, to which no text can be converted; use int, float, bool, str, "
        f"Path or a Literal of texts"
    )
