"""docs/players.md: every installed player with its options, and the hooks of a plug-in."""

import inspect
import types
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from docs.references.markdown import WRITTEN, body, code, described, table
from midstream import plugins
from midstream.command.listing import option_texts
from midstream.players import interface
from midstream.players.batch_norm import Selective
from midstream.players.checking import OPTIONS as GATE
from midstream.players.checking import Checker, Gate
from midstream.players.course import Course, Ground, Learner, Surveying
from midstream.players.interface import Batch, View
from midstream.players.scores.suspicion import Suspicion
from midstream.players.wrappers.any_attacker import AROUND

_HEAD = """# Attackers, defenders and checkers

`--attacker`, `--defender` and `--checker` take a name and its options, as `level-1,beta=0.9`;
`midstream play --list`
prints this list with whatever else is installed. `level-2`, `level-3` and so on stand for `level-k,k=2`,
`level-k,k=3`. Defenders are combined by a plus sign, as `level-1+cutmix,on=both`: each moves what the one
before it left, all within one budget. The symbols are those of [the mathematics](mathematics.md). In brackets
stands where a method is from, and where the paper's Table 1 has it.

With `--batch-norm training`, `atn`, `deep-confuse`, `em`, `rem`, `tap`, `utility=exact` and a level k that is
given neither `steps` nor `smoothness` are refused; [why, and what to do](own-model.md#batch-norm).

"""

_ANY = """### any attacker

Any of them, one of your own included, can be told to touch only a share of the examples, as
`level-1,fraction=0.3`, or of the batches, as `level-1,fraction=0.3,fraction_of=batches`. Which these are
follows from the run's seed: an example is touched at every visit or never. Any of them can be one of several
providers, as `level-1,providers=4,adversarial=1`, see less, as `level-1,stale=10,dval=0.2`,
[hide from a checker](checkers.md), as `level-1,stealth=0.5,stealth_checker=knn`, or
[drop, repeat, add and reorder examples](poisons.md#weaker-attackers), as `level-1,drop=0.1,add=0.1`. An
attacker that has an option of such a name itself keeps it.
"""

_ANY_CHECKER = """### any checker

These options say what the training server does with a checker's findings, as
`loss,action=drop,threshold=0.99`. [Checkers](checkers.md) explains them. A checker that has an option of such
a name itself keeps it.

"""

_HOOKS = """## A player of your own

A class with `perturb(batch, view)`; one with memory has `state_dict` and `load_state_dict` too. An attacker
may have `relabel`; a defender `augment`, `rehearse` and `augment_rehearsal`, each by itself; both may have
`against_batch_norm`. A checker is a class with `judge(batch, view)` instead. A player is
named by an entry point of the group `midstream.attackers`, `midstream.defenders` or `midstream.checkers`, as
`package.module:Class`, or as `path/file.py:Class`. The options are its constructor's arguments, converted
by their annotations.

"""


def page() -> str:
    """Return the page.

    Raises:
        Undocumented: a player, an option, a hook or what a hook is given has no description.
    """
    parts = [WRITTEN, _HEAD]
    kinds: tuple[plugins.Kind, ...] = ("attackers", "defenders", "checkers")
    for kind in kinds:
        parts.append(f"## {kind.capitalize()}\n\n")
        parts.extend("\n".join(_player(kind, name)) + "\n\n" for name in plugins.names(kind))
        if kind == "attackers":
            parts.append(_ANY + "\n".join(_of_any_attacker()) + "\n\n")
    parts.append(_ANY_CHECKER + "\n".join(_options("any checker", Gate, list(GATE))) + "\n\n")
    parts.append(_HOOKS)
    for hook in hooks():
        parts.append("\n".join(_method(hook.__name__, hook)) + "\n\n")
    for seen in (Batch, View, Suspicion, Ground, Course):
        parts.append("\n".join(_given(seen)) + "\n\n")
    return "".join(parts).rstrip() + "\n"


def _of_any_attacker() -> Iterator[str]:
    for around in AROUND:
        yield ""
        yield from _options("any attacker", around.player, list(around.options))


def hooks() -> Iterator[Any]:
    """Give the methods that a host looks for: those of every protocol of players, some before the game."""
    for protocol in (*vars(interface).values(), Checker, Learner, Selective, Surveying):
        if inspect.isclass(protocol) and Protocol in protocol.__bases__:
            yield from (one for one in vars(protocol).values() if inspect.isfunction(one) and _public(one))


def _public(method: Any) -> bool:
    return not method.__name__.startswith("_")


def _player(kind: plugins.Kind, name: str) -> Iterator[str]:
    player = plugins.find(kind, name)
    yield f"### {name}\n"
    yield body(f"{kind} {name}", inspect.getdoc(player))
    options = list(inspect.signature(player).parameters)
    if options:
        yield ""
        yield from _options(f"{kind} {name}", player, options)


def _options(what: str, player: Callable[..., Any], names: Collection[str]) -> Iterator[str]:
    texts, hints = (
        option_texts(player),
        get_type_hints(player.__init__ if inspect.isclass(player) else player),
    )
    options = [inspect.signature(player).parameters[name] for name in names]
    yield table(
        ["option", "type", "default", "meaning"],
        [
            [
                code(option.name),
                _type(hints.get(option.name, str)),
                "required" if option.default is option.empty else code(option.default),
                described(f"{what}: option {option.name}", texts.get(option.name)),
            ]
            for option in sorted(options, key=lambda option: option.default is not option.empty)
        ],
    )


def _type(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(code(value) for value in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_type(one) for one in get_args(hint))
    names = {
        bool: "`true` or `false`",
        int: "whole number",
        float: "number",
        str: "text",
        types.NoneType: "`none`",
    }
    return names.get(hint) or getattr(hint, "__name__", str(hint)).lower()


def _method(name: str, method: Any) -> Iterator[str]:
    arguments = [key for key in inspect.signature(method).parameters if key != "self"]
    yield f"### {name}({', '.join(arguments)})\n"
    yield body(name, inspect.getdoc(method))


def _given(seen: type) -> Iterator[str]:
    yield f"### {seen.__name__}\n"
    yield body(seen.__name__, inspect.getdoc(seen)) + "\n"
    texts = option_texts(seen, section="Attributes")
    own = f"{seen.__name__}."
    methods = [
        one for one in vars(seen).values() if inspect.isfunction(one) and one.__qualname__[: len(own)] == own
    ]
    rows = [
        [code(f"{seen.__name__.lower()}.{name}"), described(f"{seen.__name__}.{name}", text)]
        for name, text in texts.items()
    ]
    for method in methods:
        if not _public(method):
            continue
        name = method.__name__
        arguments = [key for key in inspect.signature(method).parameters if key != "self"]
        text = body(f"{seen.__name__}.{name}", inspect.getdoc(method)).partition("\n\n")[0]
        rows.append([code(f"{seen.__name__.lower()}.{name}({', '.join(arguments)})"), " ".join(text.split())])
    yield table(["what it holds", "meaning"], rows)
