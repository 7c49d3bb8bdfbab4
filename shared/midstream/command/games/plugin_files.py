"""The files behind a game's plug-ins: an edited plug-in is a different one."""

import importlib.util
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from midstream import plugins
from midstream.protocol.specification import Specification
from midstream.storage.run_files import read_object

PLUGINS = "plugins.json"
"""Holds what `plugin_files` returned when a game began, if that was anything."""


def plugin_files(specification: Specification, attacker: str, surrogate: str | None = None) -> dict[str, str]:
    """Return the SHA-256 of each file that a game's plug-ins and weights are read from, by name.

    Plug-ins that are installed by name have no entry, and neither have the modules that a file imports. The
    file of an attacker's option `path`, such as a poison, has an entry by its own name.

    Args:
        specification: the run.
        attacker: the attacker's name and options.
        surrogate: the surrogate's model, if the attacker has one.
    """
    texts = [attacker, *plugins.members(specification.defender)]
    texts += [specification.model, specification.optimizer, specification.dataset]
    evaded = plugins.parse(attacker)[1].get("stealth_checker")
    others = surrogate, specification.checker, specification.loss, evaded
    texts += [one for one in others if one is not None]
    named = {plugins.parse(text)[0] for text in texts if not text.startswith("folder:")}
    files = {name: _file(name.rpartition(":")[0]) for name in sorted(named) if ":" in name}
    if path := plugins.parse(attacker)[1].get("path"):
        files[path] = Path(path)
    models = [specification.model, *([] if surrogate is None else [surrogate])]
    weights = {name: digest for text in models for name, digest in plugins.weights_sha256(text).items()}
    return weights | {
        name: sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file and file.is_file()
    }


def edited(folder: Path, here: Mapping[str, str]) -> list[str]:
    """Describe which plug-ins of the game in a run folder were edited since it began.

    Args:
        folder: the run folder. If it does not say what the game began with, nothing counts as edited.
        here: what `plugin_files` returns now.
    """
    path = folder / PLUGINS
    was = read_object(path) if path.exists() else here
    return [f"the file of {name} was edited" for name in here if was.get(name) != here[name]]


def _file(where: str) -> Path | None:
    if where.endswith(".py"):
        return Path(where)
    if where in plugins.LIBRARIES:
        return None
    try:
        found = importlib.util.find_spec(where)
    except (ImportError, ValueError):
        return None
    return None if found is None or found.origin is None else Path(found.origin)
