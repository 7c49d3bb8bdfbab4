"""Finding attackers, defenders, models and data sets by name.

A name is an entry point (`level-1`), a dotted path (`package.module:Name`) or a file
(`path/file.py:Name`), with options behind it: `level-1,beta=0.9`. Defenders are combined by a plus sign:
`level-1+cutmix,on=both`.
"""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Collection
from difflib import get_close_matches
from functools import cache, partial
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from midstream.errors import MidstreamError
from midstream.players import fraction
from midstream.players.combination import Combination
from midstream.players.culprit import place
from midstream.players.fraction import Fraction
from midstream.players.interface import Player

Kind = Literal["attackers", "defenders", "models", "datasets"]

_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_SINGULAR: dict[str, str] = {
    "attackers": "attacker",
    "defenders": "defender",
    "models": "model",
    "datasets": "data set",
}


_PLUS = re.compile(r"\+(?!\d)")  # not that of 1e+3
_INSIDE_A_PATH = re.compile(r"[^:,]*/[^:,]*")


class PluginError(MidstreamError, ValueError):
    """A name or an option that leads nowhere; the message says what was meant to be there."""


def names(kind: Kind) -> list[str]:
    """Return the installed names of one kind.

    >>> "mnist-cnn" in names("models")
    True
    """
    return sorted({entry.name for entry in entry_points(group=f"midstream.{kind}")})


def parse(text: str) -> tuple[str, dict[str, str]]:
    """Split `name,option=value,…`.

    >>> parse("level-1,beta=0.9")
    ('level-1', {'beta': '0.9'})
    """
    name, *parts = text.split(",")
    options = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise PluginError(f"{part!r} in {text!r} is not an option; write it as option=value")
        if key.strip() in options:
            raise PluginError(f"{text!r} sets {key.strip()} twice; set it once")
        options[key.strip()] = value.strip()
    return name.strip(), options


def members(text: str) -> list[str]:
    """Split what a plus sign combines: `name,option=value+name2,option=value`.

    A plus sign before a digit belongs to a number, and one in a path, before its colon and behind a slash,
    to the path.

    >>> members("level-1+mine.py:Scale,rate=1e+3+./a+b.py:Mine")
    ['level-1', 'mine.py:Scale,rate=1e+3', './a+b.py:Mine']
    """
    first, *others = _PLUS.split(text)
    found = [first]
    for piece in others:
        if _INSIDE_A_PATH.fullmatch(found[-1]):
            found[-1] += f"+{piece}"
        else:
            found.append(piece)
    return [member.strip() for member in found]


def find(kind: Kind, name: str, *, allowed: Collection[str] | None = None) -> Callable[..., Any]:
    """Return what a name stands for.

    Args:
        kind: what is looked for.
        name: an entry point's name, `package.module:Name` or `path/file.py:Name`, without options.
        allowed: the paths that may be imported, where the name came over a network; None allows all.
            Entry points are always allowed: whoever installed the package chose them.

    Raises:
        PluginError: there is no such name, module or attribute, or it is not allowed.
    """
    for entry in entry_points(group=f"midstream.{kind}", name=name):
        loaded: Callable[..., Any] = _load(entry.load, name, entry.module)
        return loaded
    if ":" not in name and name.endswith(".py"):
        raise PluginError(f"{name!r} is a file; name what is in it, as {name}:Name")
    if ":" not in name:
        raise PluginError(
            _unknown(_SINGULAR[kind], name, names(kind), "package.module:Name or path/file.py:Name")
        )
    if allowed is not None and name not in allowed:
        raise PluginError(
            f"{_SINGULAR[kind]} {name!r} is code that this process was not told to load; "
            f"start it with --allow {name}"
        )
    where, _, attribute = name.rpartition(":")
    module = _load(
        (lambda: _file_module(where)) if where.endswith(".py") else (lambda: importlib.import_module(where)),
        name,
        where,
    )
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [key for key in dir(found) if not key.startswith("_")]
            raise PluginError(_unknown(f"name in {where}", part, public))
        found = getattr(found, part)
    if not callable(found):
        raise PluginError(f"{name!r} is a {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]


def make(
    kind: Literal["attackers", "defenders"], text: str, *, allowed: Collection[str] | None = None
) -> Any:
    """Return the player that `name,option=value,…` describes, its options converted by its annotations.

    An attacker with `fraction=…` behind its name comes inside a `midstream.players.fraction.Fraction`,
    unless it has
    an option of that name itself. Where a plus sign combines several defenders, they are a
    `midstream.players.combination.Combination`.

    Raises:
        PluginError: as for `configured`, or it could not be made, or what was made is no player.

    >>> make("attackers", "level-1,beta=0.9").history.beta
    0.9
    >>> len(make("defenders", "level-1+cutmix").parts)
    2
    """
    texts = members(text)
    if len(texts) == 1:
        return _one(kind, texts[0], allowed)
    if kind == "attackers":
        raise PluginError(
            f"attacker {text!r} is {len(texts)}, of which there can be but one; a plus sign combines "
            f"defenders. If it belongs to a file, write its path with a slash, as ./a+b.py:Name"
        )
    if "" in texts:
        raise PluginError(f"{text!r} lacks a defender beside a plus sign; write it as level-1+cutmix")
    return Combination([(one, _one(kind, one, allowed)) for one in texts])


def _one(kind: Literal["attackers", "defenders"], text: str, allowed: Collection[str] | None) -> Any:
    what = f"{_SINGULAR[kind]} {text!r}"
    share: dict[str, Any] = {}
    if kind == "attackers":
        text, share = _shared(text, allowed)
    player = _made(configured(kind, text, allowed=allowed), what)
    kept = [hasattr(player, name) for name in ("state_dict", "load_state_dict")]
    if not isinstance(player, Player):
        raise PluginError(f"{what} is a {type(player).__name__}, which has no method perturb(batch, view)")
    if any(kept) and not all(kept):
        has, lacks = ("state_dict", "load_state_dict")[:: 1 if kept[0] else -1]
        raise PluginError(f"{what} has {has} but no {lacks}; a player with memory needs both")
    return _made(partial(Fraction, inner=player, **share), what) if share else player


def _made(factory: Callable[..., Any], what: str) -> Any:
    try:
        return factory()
    except PluginError:
        raise
    except ValueError as error:  # how a constructor refuses an option
        raise PluginError(f"{what}: {error}{place(error)}") from error
    except Exception as error:
        raise PluginError(f"{what}: making it failed: {error!r}{place(error)}") from error


def _shared(text: str, allowed: Collection[str] | None) -> tuple[str, dict[str, Any]]:
    """Return an attacker's text without the options that any attacker has, and these."""
    name, options = parse(text)
    if not options.keys() & set(fraction.OPTIONS):
        return text, {}
    own = inspect.signature(find("attackers", _levelled(name, "attackers")[0], allowed=allowed)).parameters
    if own.keys() & set(fraction.OPTIONS):
        return text, {}
    hints = get_type_hints(Fraction)
    share = {
        key: _convert(options.pop(key), hints[key], f"option {key!r} of {name!r}")
        for key in fraction.OPTIONS
        if key in options
    }
    return ",".join([name, *(f"{key}={value}" for key, value in options.items())]), share


def configured(
    kind: Kind, text: str, *, allowed: Collection[str] | None = None, given: int = 0
) -> Callable[..., Any]:
    """Return what `name,option=value,…` stands for, waiting for the arguments that are no options.

    Args:
        kind: what is looked for.
        text: its name and its options, which are converted by its annotations.
        allowed: as for `find`.
        given: how many arguments the caller will pass by position; none of them is an option.

    Raises:
        PluginError: as for `find`, or there is no such option, or its value is none.

    >>> configured("models", "mnist-cnn,dropout=0.2", given=2).keywords
    {'dropout': 0.2}
    """
    name, options = parse(text)
    name, level = _levelled(name, kind)
    if level and "k" in options:
        raise PluginError(f"{text!r} names its level twice; leave k out, or write level-k,k={options['k']}")
    options = level | options
    factory = find(kind, name, allowed=allowed)
    what = f"{_SINGULAR[kind]} {name!r}"
    try:
        parameters = list(inspect.signature(factory).parameters.values())[given:]
        described = factory.__init__ if inspect.isclass(factory) else factory
        hints = get_type_hints(described if inspect.isroutine(described) else type(described).__call__)
    except Exception as error:
        raise PluginError(f"the options of {what} cannot be told from its annotations: {error!r}") from error
    known = [parameter.name for parameter in parameters if parameter.kind not in _MANY]
    values = {}
    for key, value in options.items():
        if key not in known:
            shared = [] if kind != "attackers" or set(known) & set(fraction.OPTIONS) else fraction.OPTIONS
            raise PluginError(_unknown(f"option of {what}", key, [*known, *shared]))
        values[key] = _convert(value, hints.get(key, str), f"option {key!r} of {name!r}")
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.name in known and parameter.default is parameter.empty and parameter.name not in values
    ]
    if needed:
        listing = " and ".join(map(repr, needed))
        written = ",".join([name, *(f"{key}=…" for key in needed)])
        raise PluginError(f"{what} needs the option{'s' * (len(needed) > 1)} {listing}; write {written}")
    return partial(factory, **values)


def _levelled(name: str, kind: Kind) -> tuple[str, dict[str, str]]:
    """Return `level-k` and its k for a level's name, and any other name as it is."""
    level = re.fullmatch(r"level-(\d+)", name)
    return ("level-k", {"k": level[1]}) if level and name not in names(kind) else (name, {})


def _convert(value: str, kind: Any, what: str) -> Any:
    if get_origin(kind) in (Union, UnionType):
        if value == "none" and NoneType in get_args(kind):
            return None
        only, *others = [one for one in get_args(kind) if one is not NoneType]
        if not others:
            return _convert(value, only, what)
    if kind is bool:
        if value not in ("true", "false"):
            raise PluginError(f"{what} is {value!r}, not true or false")
        return value == "true"
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise PluginError(_unknown(f"value of {what.removeprefix('option ')}", value, get_args(kind)))
        return value
    if kind in (int, float):
        try:
            number = kind(value)
        except ValueError as error:
            raise PluginError(f"{what} is {value!r}, not a {'whole ' * (kind is int)}number") from error
        if number != number:
            raise PluginError(f"{what} is {value!r}, which is not a number")
        return number
    if kind in (str, Path, Any):
        return Path(value) if kind is Path else value
    raise PluginError(
        f"{what} is annotated {kind}, which no text can be turned into; use int, float, bool, str, Path or "
        f"a Literal of texts"
    )


def _load(importer: Callable[[], Any], name: str, module: str) -> Any:
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
    except (Exception, SystemExit) as error:  # a module that ends the process would end its host
        raise PluginError(f"{name!r}: importing {module!r} failed: {error!r}{place(error)}") from error


@cache
def _file_module(path: str) -> ModuleType:
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


def _unknown(what: str, name: str, known: Collection[str], otherwise: str = "") -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    listing = f" Known: {', '.join(sorted(known))}." if known else " There are none."
    return f"there is no {what} called {name!r}{hint}{listing}" + (
        f" Or write {otherwise}." if otherwise else ""
    )
