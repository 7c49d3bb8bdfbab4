"""Players from their description, with the options that all players of a kind accept."""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Literal, get_type_hints

from midstream.players import checking
from midstream.players.checking import Checker, Gate
from midstream.players.culprit import place
from midstream.players.interface import Player
from midstream.players.wrappers.any_attacker import AROUND
from midstream.players.wrappers.combination import Combination
from midstream.players.wrappers.stealth import Stealth
from midstream.plugins.configuration import configured, convert
from midstream.plugins.finding import find
from midstream.plugins.naming import SINGULAR, Kind, PluginError, members, numbered_level, parse


def make(
    kind: Literal["attackers", "defenders"], text: str, *, allowed: Collection[str] | None = None
) -> Any:
    """Return the player that `name,option=value,…` describes.

    An attacker with an option such as `fraction` or `stale` is wrapped in the player that carries it out, see
    `midstream.players.wrappers.any_attacker`, unless it has an option of that name itself. Defenders combined
    by plus signs become a `midstream.players.wrappers.combination.Combination`.

    Raises:
        PluginError: as for `configured`; or the constructor failed, or the object is not a player.

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
            f"attacker {text!r} names {len(texts)} attackers, and a run has one; a plus sign combines "
            f"defenders. If it belongs to a file, write its path with a slash, as ./a+b.py:Name"
        )
    if "" in texts:
        raise PluginError(f"{text!r} lacks a defender beside a plus sign; write it as level-1+cutmix")
    return Combination([(one, _one(kind, one, allowed)) for one in texts])


def make_gate(text: str, *, allowed: Collection[str] | None = None) -> Gate:
    """Return the checker that `name,option=value,…` describes, with what the server does with its findings.

    Raises:
        PluginError: as for `configured`; or the constructor failed, or the object is not a checker.

    >>> gate = make_gate("loss,action=drop,threshold=0.99")
    >>> gate.action, gate.threshold, type(gate.checker).__name__
    ('drop', 0.99, 'Loss')
    """
    what = f"{SINGULAR['checkers']} {text!r}"
    plain, own = _without(text, "checkers", checking.OPTIONS, get_type_hints(Gate), allowed)
    checker = _constructed(configured("checkers", plain, allowed=allowed), what)
    return _constructed(partial(Gate, name=text, checker=_checker(checker, what), **own), what)  # type: ignore[no-any-return]


def given_checker(it: object) -> Gate:
    """Return the gate of an object, for a game in this process: a checker, its class, or a `Gate`.

    Raises:
        PluginError: the object is no checker, or its constructor failed.
    """
    if isinstance(it, Gate):
        return it
    described = it if isinstance(it, type) else type(it)
    name = f"{described.__module__}:{described.__qualname__}".replace("<locals>", "locals")
    what = f"checker {name!r}"
    return Gate(name=name, checker=_checker(_constructed(it, what) if isinstance(it, type) else it, what))


def _checker(checker: object, what: str) -> Checker:
    if not isinstance(checker, Checker):
        raise PluginError(f"{what} is a {type(checker).__name__}, which has no method judge(batch, view)")
    _both_or_neither(checker, what)
    return checker


def _one(kind: Literal["attackers", "defenders"], text: str, allowed: Collection[str] | None) -> Any:
    what = f"{SINGULAR[kind]} {text!r}"
    wrapped: list[partial[Any]] = []
    if kind == "attackers":
        text, wrapped = _without_shared(text, allowed)
    player = _checked(_constructed(configured(kind, text, allowed=allowed), what), what)
    for around in wrapped:
        player = _constructed(partial(around, inner=player), what)
    return player


def given(kind: Literal["attackers", "defenders"], it: object) -> tuple[str, Player]:
    """Return the name and the player of an object, for a game in this process.

    Args:
        kind: the side that it plays on.
        it: a player, or a class whose instances are players.

    Raises:
        PluginError: the object is no player, or its constructor failed.

    >>> from midstream.attacks.noise import Noise
    >>> given("attackers", Noise)[0]
    'midstream.attacks.noise:Noise'
    """
    described = it if isinstance(it, type) else type(it)
    name = f"{described.__module__}:{described.__qualname__}".replace("<locals>", "locals")
    what = f"{SINGULAR[kind]} {name!r}"
    return name, _checked(_constructed(it, what) if isinstance(it, type) else it, what)


def _checked(player: object, what: str) -> Any:
    if not isinstance(player, Player):
        raise PluginError(f"{what} is a {type(player).__name__}, which has no method perturb(batch, view)")
    _both_or_neither(player, what)
    return player


def _both_or_neither(player: object, what: str) -> None:
    memory = [hasattr(player, name) for name in ("state_dict", "load_state_dict")]
    if any(memory) and not all(memory):
        has, lacks = ("state_dict", "load_state_dict")[:: 1 if memory[0] else -1]
        raise PluginError(f"{what} has {has} but no {lacks}; a player with memory needs both")


def _constructed(factory: Callable[..., object], what: str) -> Any:
    try:
        return factory()
    except PluginError:
        raise
    except ValueError as error:  # a constructor refuses an option by it
        raise PluginError(f"{what}: {error}{place(error)}") from error
    except Exception as error:
        raise PluginError(f"{what}: making it failed: {error!r}{place(error)}") from error


def _without(
    text: str,
    kind: Kind,
    shared: Collection[str],
    hints: Mapping[str, object],
    allowed: Collection[str] | None,
) -> tuple[str, dict[str, Any]]:
    """Return a text without the options that all players of a kind accept, and those options, converted."""
    name, options = parse(text)
    if not options.keys() & set(shared):
        return text, {}
    factory = find(kind, numbered_level(name, kind)[0], allowed=allowed)
    if inspect.signature(factory).parameters.keys() & set(shared):
        return text, {}
    found = {
        key: convert(options.pop(key), hints[key], f"option {key!r} of {name!r}")
        for key in shared
        if key in options
    }
    return ",".join([name, *(f"{key}={value}" for key, value in options.items())]), found


def _without_shared(text: str, allowed: Collection[str] | None) -> tuple[str, list[partial[Any]]]:
    """Return an attacker's text without the options that every attacker accepts, and what carries them out.

    An attacker that has one of a player's options itself gets all of that player's.
    """
    name, options = parse(text)
    wanted = [around for around in AROUND if options.keys() & set(around.options)]
    if not wanted:
        return text, []
    factory = find("attackers", numbered_level(name, "attackers")[0], allowed=allowed)
    own, found = inspect.signature(factory).parameters.keys(), []
    for around in wanted:
        if own & set(around.options):
            continue
        hints = get_type_hints(around.player)
        values = {
            key: convert(options.pop(key), hints[key], f"option {key!r} of {name!r}")
            for key in around.options
            if key in options
        }
        if around.player is Stealth:
            named = configured("checkers", values.get("stealth_checker", "loss"), allowed=allowed)
            values["checker"] = _checker(_constructed(named, "stealth_checker"), "stealth_checker")
        found.append(partial(around.player, **values))
    return ",".join([name, *(f"{key}={value}" for key, value in options.items())]), found
