"""Checks that a memory belongs to the attack that continues from it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from midstream.players.reporting import Say
from midstream.protocol.problem import Problem
from midstream.run.process.environment import describe, differences
from midstream.storage.sqlite import IN_MEMORY, DamagedDatabaseError, set_aside
from midstream_proxy.attack import AttackSettings
from midstream_proxy.memory.attack_memory import AttackMemory

_OTHERWISE = "the attack would differ from that of an uninterrupted run"
_ANYWAY = "or start the proxy with --resume-anyway, which is recorded with the run and shown with its result"


@dataclass(frozen=True)
class Going:
    """How an attack continues.

    Attributes:
        run: the run's identity.
        settings: the attacker's present settings.
        remembers: whether the attacker's moves depend on its state.
        step: number of batches that the run had taken when asked; more if it was replaying its journal.
        anyway: whether to continue if the memory does not fit; this is recorded.
        say: called with messages about the memory.
    """

    run: str
    settings: AttackSettings
    remembers: bool = True
    step: int = 0
    anyway: bool = False
    say: Say = lambda _: None

    @property
    def needs_memory(self) -> bool:
        """Whether the attack cannot continue without its memory."""
        return self.remembers and self.step > 0 and not self.anyway

    def refused(self, why: str) -> Problem:
        """Report why the attack cannot continue, and return the problem for the provider."""
        self.say(why)
        return refused(why)

    def described(self) -> dict[str, Any]:
        """Return everything that determines the attack."""
        settings = self.settings
        surrogate = {name: value for name, value in asdict(settings.surrogate).items() if name != "cache"}
        attack: Mapping[str, Any] = {
            "attacker": settings.attacker,
            "epsilon": settings.epsilon,
            "norm": settings.norm,
            "surrogate": surrogate,
            "signs": settings.signing_key is not None,
            "on_error": settings.on_error,
        }
        return {"run": self.run, "attack": attack, "environment": describe(settings.device)}


def open_memory(path: Path, going: Going) -> AttackMemory:
    """Open the memory of this attack.

    If the file is damaged and the attack does not need it, the file is renamed and a new one replaces it.

    Raises:
        Problem: 409, the file is damaged, or belongs to another run or to an attack with other settings.
        midstream.storage.sqlite.StorageError: the file cannot be opened, or another proxy uses it.
    """
    try:
        memory = AttackMemory(path)
    except DamagedDatabaseError as error:
        if going.needs_memory:
            raise going.refused(str(error)) from error
        going.say(f"{error}; it is renamed to {set_aside(path).name}, and the attacker starts without memory")
        memory = AttackMemory(path)
    try:
        _recognise(memory, going)
    except BaseException:
        memory.close()
        raise
    return memory


def _recognise(memory: AttackMemory, going: Going) -> None:
    now, begun = going.described(), memory.begun
    if begun is not None and begun["run"] != going.run:
        if going.needs_memory:
            raise going.refused(f"{memory.path} holds the memory of another run of that name")
        going.say("the memory belongs to another run of that name; it is deleted")
        memory.forget()
        begun = None
    if begun is None:
        memory.begin(now)
        return
    was, wanted = begun["attack"], now["attack"]
    found = [f"{name} {was[name]}, here {wanted[name]}" for name in wanted if was.get(name) != wanted[name]]
    found += differences(begun["environment"], now["environment"])
    if found and not going.anyway:
        raise Problem(
            409,
            "The attack was begun with other settings",
            f"it was begun with {'; '.join(found)}. Restore these settings, {_ANYWAY} and in {memory.path}",
        )
    if found:
        memory.resume(now, found)


def misfit(memory: AttackMemory, seq: int) -> str:
    """Return a sentence on why a memory does not fit a run at a batch."""
    where = "this proxy" if memory.path == IN_MEMORY else str(memory.path)
    if memory.empty and memory.position == 0:
        return f"the run is at batch {seq}, but {where} holds no memory of the batches before it"
    return (
        f"the run is at batch {seq}, but the memory in {where} belongs to an attacker before batch "
        f"{memory.position}"
    )


def refused(why: str) -> Problem:
    """Return the problem for the provider when the attack cannot continue from its memory."""
    return Problem(
        409,
        "The attacker's memory does not fit the run",
        f"{why}; {_OTHERWISE}. Restore the memory of this run, {_ANYWAY}",
    )
