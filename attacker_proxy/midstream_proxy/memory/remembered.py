"""An attack that survives a restart: it attacks each batch once, however often the batch arrives."""

import time
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.inputs.rows import Rows
from midstream.players.referee import PASSED_CLEAN, PlayerError
from midstream.players.remembering import RESUMED_ANYWAY, give_back, memory_of, rows_of
from midstream.players.reports import REPORTS
from midstream.protocol.checks import BatchRules
from midstream.protocol.problem import Problem
from midstream.protocol.signature import signed
from midstream.protocol.wire import WireBatch, decode_batch, encode_batch
from midstream.storage import faults
from midstream_proxy.activity import Move
from midstream_proxy.clean import CleanPictures
from midstream_proxy.memory.attack_memory import AttackMemory
from midstream_proxy.memory.recognised import Going, misfit
from midstream_proxy.memory.records import digest_of
from midstream_proxy.memory.server import OtherRunError, Server
from midstream_proxy.surrogates.black_box import BlackBoxRun
from midstream_proxy.truth import note
from midstream_proxy.white_box import AttackedRun

_ELSEWHERE = -1  # the player's state is neither the memory's nor that after one of its answers


class RememberedAttack:
    """The attack on one run, and its memory; use it from one thread.

    Args:
        attacked: the attack, before the first batch.
        rules: checks each batch before the attack.
        memory: the answers sent so far, and the attacker's state.
        server: the run's server.
        going: how the attack continues.
        signing_key: the key to sign the answers with; None leaves the provider's signature.
        truth: the file to note the altered examples in; None notes nothing.
        clean: draws clean examples; None draws nothing.
    """

    def __init__(
        self,
        attacked: AttackedRun | BlackBoxRun,
        rules: BatchRules,
        memory: AttackMemory,
        server: Server,
        going: Going,
        *,
        signing_key: bytes | None = None,
        truth: Path | None = None,
        clean: CleanPictures | None = None,
    ) -> None:
        self.attacked = attacked
        self._signing_key = signing_key
        self._truth = truth
        self._clean = clean
        self.rules = rules
        self.moves = 0
        """Number of attacked batches, without answers from the memory."""
        self.move: Move | None = None
        """The last attacked batch."""
        self.passed_clean = 0
        """How many of them were sent unchanged because the attacker failed."""
        self._memory = memory
        self._server = server
        self._going = going
        self._kept_from = 0
        self._remembers = going.remembers
        self._follows = going.remembers and rows_of(attacked.player) is not None
        self._at: int | None = None  # the player's state is that after this answer; None: the memory's
        self._unstored: tuple[int, bytes, bytes] | None = None
        self._sent: int | None = None
        attacked.before = self
        if not memory.started:
            memory.start(self._state(), self._rows)
        elif self._remembers:
            self._give_back(memory.state())

    @property
    def resumed(self) -> int:
        """How often --resume-anyway continued the attack."""
        return self._memory.resumptions

    def answer(self, seq: int, came: bytes) -> bytes:
        """Return the attacked body in place of `came`; a repeated batch gets the same bytes again.

        Args:
            seq: the batch's place in the run.
            came: the body that the provider sent.

        Raises:
            midstream.protocol.wire.WireError: the body is no batch.
            Problem: 422, the batch does not fit the run; 409, the run expects another batch, or the memory
                does not fit the run.
            OtherRunError: another run has the name of this one.
            midstream.players.referee.PlayerError: the attacker broke its rules.
            midstream.storage.sqlite.StorageError: the answer could not be stored, so it must not be sent; it
                is reused when the batch arrives again.
            midstream.storage.sqlite.DamagedDatabaseError: the memory is damaged.
        """
        unexpected = seq == 0 or seq != self._memory.position
        if unexpected and self._server.identity() != self._going.run:
            raise OtherRunError
        digest = digest_of(came)
        found = self._memory.answer(seq, digest)
        if found is None:
            if self._unstored is None or self._unstored[:2] != (seq, digest):
                self._unstored = seq, digest, self._attack(seq, came)
            body, kept_from = self._unstored[2], min(self._kept_from, seq)
            found = self._memory.store(seq, digest, body, self._state(), kept_from=kept_from, rows=self._rows)
            self._at = found.number if self._remembers else None
            faults.reached("stored")
            self._unstored = None
        self._sent = found.number
        return found.body

    def acknowledged(self, *, kept_from: int) -> None:
        """Advance the memory past the last returned answer, which the server has taken.

        Args:
            kept_from: the server will not need batches before this one again.
        """
        self._kept_from = kept_from
        if self._sent is not None:
            self._settle(self._sent)

    def _settle(self, number: int) -> None:
        if not self._memory.acknowledge(number) or not self._remembers:
            return
        own = self._at == number
        self._at = None if own else _ELSEWHERE
        if own and self._rows is not None:
            self._memory.keep(self._rows)

    def _attack(self, seq: int, came: bytes) -> bytes:
        batch = decode_batch(came)
        self.rules.check(batch, seq=seq)  # do not attack a batch that the server would refuse
        if self._remembers:
            self._come_to(seq)
        self._at = _ELSEWHERE if self._remembers else None
        began = time.monotonic()
        try:
            moved = self.attacked.attack(batch)
            moved = replace(moved, inputs=moved.inputs.cpu(), labels=moved.labels.cpu())
        except Exception:
            self.back()  # undo a partial move: the batch will arrive again
            raise
        note(self._truth, batch, moved)
        unmoved = pixels(batch.inputs) if self.attacked.composed is None else self.attacked.composed.cpu()
        if self._clean is not None:
            self._clean.note(unmoved, moved)
        self.moves, self.move = self.moves + 1, self._measured(unmoved, moved, time.monotonic() - began)
        self.passed_clean += PASSED_CLEAN in moved.report
        report = dict(moved.report)
        if self._memory.untold:
            report = dict(list(report.items())[: REPORTS - 1]) | {RESUMED_ANYWAY: 1}
        moved = replace(moved, report=report, signature=batch.signature)
        goes_on = signed(moved, run=str(self.rules.specification.name), key=self._signing_key)
        body = b"".join(encode_batch(goes_on))
        faults.reached("attacked")
        return body

    def _come_to(self, seq: int) -> None:
        """Bring the attacker to its state before a batch.

        Raises:
            Problem: 409, the run expects another batch, or the memory does not fit the run.
        """
        memory, run = self._memory, str(self.rules.specification.name)
        if seq != memory.position:
            step = self._server.step()
            if seq != step:
                detail = f"batch {seq} came, batch {step} is next in run {run!r}"
                raise Problem(409, "Not the next batch", detail, next_seq=step)
            if seq == memory.position + 1:
                self._find_out_what_was_taken()
        if seq != memory.position:
            self._go_on_anyway(seq)
        if self._at is not None:
            self.back()

    def _find_out_what_was_taken(self) -> None:
        """Advance the memory past an answer that the server took but did not acknowledge."""
        answers = list(self._memory.open_answers())
        for answer in answers:
            taken = self._server.took(answer.seq, answer.body)
            if taken or (taken is None and len(answers) == 1):
                self._settle(answer.number)
                return

    def _go_on_anyway(self, seq: int) -> None:
        why = misfit(self._memory, seq)
        if not self._going.anyway:
            raise self._going.refused(why)
        self._memory.resume(self._going.described(), [why], position=seq)
        self._going.say(f"{why}; the attack continues from there anyway")

    @property
    def _rows(self) -> Rows | None:
        """The attacker's rows, if a new attacker has some; a later history is part of its other state."""
        rows = rows_of(self.attacked.player) if self._follows else None
        if rows is None and self._follows:
            what = "had one MomentumHistory at first and has none or several now; make all in __init__"
            raise PlayerError(f"{self._going.settings.attacker!r} {what}")
        return rows

    def _state(self) -> dict[str, Tensor]:
        if not self._remembers:
            return {}
        return memory_of(self._going.settings.attacker, self.attacked.player, without=self._rows)

    def _give_back(self, state: dict[str, Tensor]) -> None:
        give_back(self._going.settings.attacker, self.attacked.player, state, without=self._rows)
        if self._rows is not None:
            self._memory.rewind(self._rows)

    def _measured(self, unmoved: Tensor, goes_on: WireBatch, seconds: float) -> Move:
        budget = self.attacked.budget
        sizes = budget.size(goes_on.inputs - unmoved)
        return Move(float(sizes.mean()) / budget.epsilon if budget.epsilon > 0 else None, seconds)

    def mark(self) -> None:
        """Do nothing: the memory already holds the state before the batch."""

    def back(self) -> None:
        """Restore the attacker's state of the memory, before the next batch."""
        if not self._remembers:
            return
        try:
            now = self._state()
        except PlayerError:
            now = {}  # read the whole state
        self._give_back(self._memory.before(now))
        self._at = None

    def close(self) -> None:
        """Close the memory."""
        self._memory.close()
