"""Rank 0: it plays the whole game, and has the other ranks compute their parts of its derivatives."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from midstream.mathematics.sharing.spans import Span, spans
from midstream.run.ranks.adding import added, flat, joined, unflat
from midstream.run.ranks.errors import LostRankError, RankError
from midstream.run.ranks.wire import Wire, packed
from midstream.run.ranks.work import Description, Kind, Task, digest, state

T = TypeVar("T")

CHECK_EVERY = 100
"""Versions of the parameters between two comparisons of the ranks' digests."""


class Leader:
    """Shares derivatives with the other ranks. Threads may use it; they take turns.

    Before each derivative, the other ranks receive the parameters of rank 0 if they have changed. So the
    optimizer, the players and the files are those of rank 0 alone, as in a game of one process.

    Args:
        wire: the connection.
        device: where this rank computes.
        exact: whether sums are those of one process, to the bit: whole chunks are shared, and added in order.
        leave: ends this process with a sentence, because ranks are lost or differ.
    """

    def __init__(
        self, wire: Wire, *, device: torch.device, exact: bool, leave: Callable[[str], None]
    ) -> None:
        self.wire = wire
        self.exact = exact
        self.device = device
        self._leave = leave
        self._lock = Lock()
        self._amid = False
        self._numbers: dict[str, int] = {}
        self._sent: dict[int, Tensor] = {}
        self._versions: dict[int, int] = {}
        self._fixed: dict[int, list[Tensor]] = {}

    def divided(self, count: int, chunk_size: int) -> list[Span] | None:
        """Return the examples of each rank; None if there are too few to share."""
        found = spans(count, self.wire.world, unit=chunk_size if self.exact else 1)
        return None if found[1][0] == found[1][1] else found

    def summed(self, asked: "Asked", own: Callable[[], list[list[Tensor]]]) -> list[Tensor] | None:
        """Return the sum of all ranks' terms; None if a rank failed, and this one must compute it alone."""
        with self._turn():
            self._ask(asked)
            if (terms := self._agreed(own)) is None:
                return None
            vectors = [flat(term) for term in terms]
            return unflat(added(self.wire, vectors, vectors[0]), terms[0])

    def rows(self, asked: "Asked", own: Callable[[], Tensor]) -> Tensor | None:
        """Return the rows of all ranks; None if a rank failed, and this one must compute them alone."""
        with self._turn():
            self._ask(asked)
            found = self._agreed(own)
            return None if found is None else joined(self.wire, found, asked.spans)

    def close(self) -> None:
        """Let the other ranks end; if one does not answer, it ends when this process does."""
        with self._lock:
            if self._amid:
                return
            try:
                self.wire.text(0, json.dumps({"do": "end"}))
                self.wire.flags(True)
            except LostRankError:
                return

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock:
            if self._amid:
                raise RankError("an interrupt came between the ranks; start the same command again")
            self._amid = True
            try:
                yield
            except LostRankError as error:
                self._leave(str(error))
                raise
            self._amid = False

    def _agreed(self, own: Callable[[], T]) -> T | None:
        """Return this rank's part; None if it or that of another rank failed."""
        try:
            found = own()
        except BaseException as error:
            self.wire.flags(False)
            if isinstance(error, Exception):
                return None  # computed alone, it fails as in one process
            self._amid = False
            raise
        return found if all(self.wire.flags(True)) else None

    def _ask(self, asked: "Asked") -> None:
        """Send what the others need; what is sent follows the header in the order of its keys."""
        model, known = asked.model, json.dumps(asked.description.written())
        new = known not in self._numbers
        number = self._numbers.setdefault(known, len(self._numbers))
        now = packed(state(model))
        changed = number not in self._sent or not torch.equal(now, self._sent[number])
        version = self._versions.get(number, 0)
        check = changed and version % CHECK_EVERY == 0
        self._versions[number] = version + changed
        tensors = [asked.inputs, asked.labels]
        fixed = self._fixed.get(number, [])
        same = len(fixed) == 2 and all(one is other for one, other in zip(tensors, fixed, strict=True))
        header: dict[str, Any] = {
            "do": asked.task,
            "model": number,
            "description": asked.description.written() if new else None,
            "state": changed,
            "check": check,
            "set": None if same else [Kind.of(one).written() for one in tensors],
            "keep": asked.fixed,
            "vector": asked.vector is not None,
            "spans": asked.spans,
            "chunk_size": asked.chunk_size,
            "apart": self.exact,
        }
        self.wire.text(0, json.dumps(header))
        if changed:
            self.wire.tensor(0, now)
            self._sent[number] = now
        if not same:
            for one in tensors:
                self.wire.tensor(0, one.detach().contiguous())
        if asked.fixed:
            self._fixed[number] = tensors
        if asked.vector is not None:
            self.wire.tensor(0, packed(asked.vector.values()))
        if check:
            self._compare(digest(model, asked.description, self.device))

    def _compare(self, own: str) -> None:
        others = {rank: self.wire.text(rank) for rank in range(1, self.wire.world)}
        if wrong := [str(rank) for rank, found in others.items() if found != own]:
            sentence = (
                f"the parameters of rank {', '.join(wrong)} are not those of rank 0, or it computes other "
                f"bits from them; its memory or its machine is at fault. The run ends here"
            )
            self.wire.flags(False)
            self._amid = False
            self._leave(sentence)
            raise RankError(sentence)


class Asked:
    """A derivative that all ranks compute together.

    Args:
        task: which derivative.
        model: the model of rank 0.
        description: what the others build it from.
        inputs: the whole set.
        labels: its labels.
        spans: the examples of each rank.
        chunk_size: examples at a time.
        vector: `v`, for `B_x v`; in the order of the trainable parameters.
        fixed: whether the set is asked for again and again, so that the others keep it.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        description: Description,
        inputs: Tensor,
        labels: Tensor,
        spans: Sequence[Span],
        chunk_size: int,
        *,
        vector: Mapping[str, Tensor] | None = None,
        fixed: bool = False,
    ) -> None:
        self.task = task
        self.model = model
        self.description = description
        self.inputs = inputs
        self.labels = labels
        self.spans = spans
        self.chunk_size = chunk_size
        self.vector = vector
        self.fixed = fixed
