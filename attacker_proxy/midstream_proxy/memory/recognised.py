"""Whether an attacker's memory is that of the attack that is to go on from it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from midstream.protocol.problem import Problem
from midstream.run.environment import describe, differences
from midstream.run.reporting import Say
from midstream.storage.sqlite import IN_MEMORY, DamagedDatabaseError, set_aside
from midstream_proxy.attack import AttackSettings
from midstream_proxy.memory.attack_memory import AttackMemory

_OTHERWISE = "the attack would go on otherwise than in an undisturbed run"
_ANYWAY = "or start the proxy with --resume-anyway, which is recorded with the run and shown with its result"


@dataclass(frozen=True)
class Going:
    """How an attack goes on.

    Attributes:
        run: the run's identity.
        settings: what the attacker decides now.
        remembers: whether the attacker's moves depend on what it remembers.
        step: batches that the run had taken when it was asked; more, where it was replaying its journal.
        anyway: whether to go on where the memory does not fit; that is recorded.
        say: told what becomes of the memory.
    """

    run: str
    settings: AttackSettings
    remembers: bool = True
    step: int = 0
    anyway: bool = False
    say: Say = lambda _: None

    @property
    def needs_memory(self) -> bool:
        """Whether the attack cannot go on without memory."""
        return self.remembers and self.step > 0 and not self.anyway

    def refused(self, why: str) -> Problem:
        """Return the problem that a provider is told when the attack cannot go on, having said why."""
        self.say(why)
        return refused(why)

    def described(self) -> dict[str, Any]:
        """Return everything that the attack depends on."""
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
    """Return the memory in a file, which is that of this attack.

    A damaged one is set aside where the attack can do without.

    Raises:
        Problem: 409, it is damaged, of another run, or of an attack that was begun otherwise.
        midstream.storage.sqlite.StorageError: it cannot be opened, or another proxy has it.
    """
    try:
        memory = AttackMemory(path)
    except DamagedDatabaseError as error:
        if going.needs_memory:
            raise going.refused(str(error)) from error
        going.say(f"{error}; it is kept as {set_aside(path).name}, and the attacker begins without memory")
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
        going.say("what was remembered is of another run of that name; it is forgotten")
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
            "The attack was begun otherwise",
            f"it was begun with {'; '.join(found)}. Go on as it was begun, {_ANYWAY} and in {memory.path}",
        )
    if found:
        memory.resume(now, found)


def misfit(memory: AttackMemory, seq: int) -> str:
    """Return in words why a memory is not the one that a run calls for at a batch."""
    where = "this proxy" if memory.path == IN_MEMORY else str(memory.path)
    if memory.empty and memory.position == 0:
        return f"the run is at batch {seq}, but {where} holds no memory of the batches before it"
    return (
        f"the run is at batch {seq}, but the memory in {where} is that of an attacker before batch "
        f"{memory.position}"
    )


def refused(why: str) -> Problem:
    """Return the problem that a provider is told when the attack cannot go on from its memory."""
    return Problem(
        409,
        "The attacker's memory does not fit the run",
        f"{why}; {_OTHERWISE}. Put the memory back that belongs to the run, {_ANYWAY}",
    )
