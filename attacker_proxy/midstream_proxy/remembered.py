"""An attack that survives its process: each batch is attacked once, however often it comes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from midstream import faults
from midstream.checks import BatchRules
from midstream.environment import describe, differences
from midstream.pixels import pixels
from midstream.players import PASSED_CLEAN, restore, state_of
from midstream.problem import Problem
from midstream.signature import signed
from midstream.storage import DamagedDatabaseError, set_aside
from midstream.wire import WireBatch, decode_batch, encode_batch
from midstream_proxy.activity import Move
from midstream_proxy.attack import AttackedRun, AttackSettings
from midstream_proxy.black_box import BlackBoxRun
from midstream_proxy.memory import AttackMemory

Say = Callable[[str], None]


class RememberedAttack:
    """An attacker at work on one run, and its memory; used by one thread.

    Args:
        attacked: the attacker, as it was when the memory was last stored.
        rules: those that a batch is held to before it is attacked.
        memory: the answers it gave, and its state.
        signing_key: what the answers are signed with; None leaves the signature they came with.
    """

    def __init__(
        self,
        attacked: AttackedRun | BlackBoxRun,
        rules: BatchRules,
        memory: AttackMemory,
        *,
        signing_key: bytes | None = None,
    ) -> None:
        self.attacked = attacked
        self._signing_key = signing_key
        self.rules = rules
        self.kept_from = 0
        """The server needs no batch before this one again."""
        self.moves = 0
        """Batches attacked; those that were remembered do not count."""
        self.move: Move | None = None
        """The last of them."""
        self.passed_clean = 0
        """How many of them went on as they came, since the attacker failed."""
        self._memory = memory
        self._unstored: tuple[int, bytes, bytes] | None = None
        if state := memory.state():
            restore(attacked.player, state)

    def answer(self, seq: int, came: bytes) -> bytes:
        """Return the body that goes on in place of another: the very same one where it came before.

        Args:
            seq: the batch's place in the run.
            came: the body that the provider sent.

        Raises:
            midstream.wire.WireError: that is no batch.
            Problem: 422, it does not fit the run.
            midstream.players.PlayerError: the attacker broke its rules.
            midstream.storage.StorageError: the answer could not be stored, and must not go on; it is at hand
                when the batch comes again.
        """
        if (sent := self._memory.sent(seq, came)) is not None:
            return sent
        if self._unstored is None or self._unstored[:2] != (seq, came):
            batch = decode_batch(came)
            self.rules.check(batch, seq=seq)  # what the server would refuse is not attacked
            began = time.monotonic()
            moved = replace(self._attacked(batch), signature=batch.signature)
            self.moves, self.move = self.moves + 1, self._measured(batch, moved, time.monotonic() - began)
            self.passed_clean += PASSED_CLEAN in moved.report
            goes_on = signed(moved, run=str(self.rules.specification.name), key=self._signing_key)
            self._unstored = seq, came, b"".join(encode_batch(goes_on))
            faults.reached("attacked")
        body = self._unstored[2]
        state = state_of(self.attacked.player)
        self._memory.store(seq, came, body, state, kept_from=min(self.kept_from, seq))
        faults.reached("stored")
        self._unstored = None
        return body

    def _attacked(self, batch: WireBatch) -> WireBatch:
        try:
            return self.attacked.attack(batch)
        except Exception:
            # Half a move may have left its mark; the batch will come again.
            if state := self._memory.state():
                restore(self.attacked.player, state)
            raise

    def _measured(self, came: WireBatch, goes_on: WireBatch, seconds: float) -> Move:
        budget = self.attacked.budget
        sizes = budget.size(goes_on.inputs - pixels(came.inputs))
        return Move(float(sizes.mean()) / budget.epsilon if budget.epsilon > 0 else None, seconds)

    def close(self) -> None:
        """Close the memory."""
        self._memory.close()


def open_memory(path: Path, say: Say) -> AttackMemory:
    """Return the memory in a file; a damaged one is set aside.

    Raises:
        midstream.storage.StorageError: it cannot be opened, or another proxy has it.
    """
    try:
        return AttackMemory(path)
    except DamagedDatabaseError as error:
        say(f"{error}; it is kept as {set_aside(path).name}, and the attacker begins without memory")
        return AttackMemory(path)


def recognise(
    memory: AttackMemory, identity: str, settings: AttackSettings, *, anyway: bool, say: Say
) -> None:
    """Compare a memory with the attack that is to go on from it.

    Args:
        memory: what is remembered; nothing of another run is kept.
        identity: the run's.
        settings: what the attacker decides now.
        anyway: whether to go on where the attack was begun otherwise; that is recorded.
        say: told what becomes of the memory.

    Raises:
        Problem: 409, it was begun otherwise.
    """
    now: dict[str, Any] = {
        "run": identity,
        "attack": _attack(settings),
        "environment": describe(settings.device),
    }
    begun = memory.begin(now)
    if begun["run"] != identity:
        say("what was remembered is of another run of that name; it is forgotten")
        memory.forget()
        begun = memory.begin(now)
    was, wanted = begun["attack"], now["attack"]
    found = [f"{name} {was[name]}, here {wanted[name]}" for name in wanted if was.get(name) != wanted[name]]
    found += differences(begun["environment"], now["environment"])
    if found and not anyway:
        raise Problem(
            409,
            "The attack was begun otherwise",
            f"it was begun with {'; '.join(found)}. Go on as it was begun, or start the proxy with "
            f"--resume-anyway, which is recorded in {memory.path}",
        )
    if found:
        memory.record(now, found)


def _attack(settings: AttackSettings) -> Mapping[str, Any]:
    surrogate = {name: value for name, value in asdict(settings.surrogate).items() if name != "cache"}
    return {
        "attacker": settings.attacker,
        "epsilon": settings.epsilon,
        "norm": settings.norm,
        "surrogate": surrogate,
        "signs": settings.signing_key is not None,
        "on_error": settings.on_error,
    }
