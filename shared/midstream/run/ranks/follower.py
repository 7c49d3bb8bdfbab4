"""Every rank but 0: it computes its part of each derivative that rank 0 asks for."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from midstream.mathematics.sharing.spans import Span
from midstream.players.reporting import Say
from midstream.run.optimizing.descent import Descent
from midstream.run.ranks import work
from midstream.run.ranks.adding import added, flat, joined, laid_out
from midstream.run.ranks.wire import Wire, byte_count, unpacked
from midstream.run.ranks.work import Description, Kind, digest, state

T = TypeVar("T")


class Follower:
    """Computes what rank 0 asks for, until rank 0 ends.

    Args:
        wire: the connection.
        device: where this rank computes.
        allowed: the dotted paths and files that a description may name; None allows all.
        say: called with a sentence if this rank fails at its part, which rank 0 then computes alone.
    """

    def __init__(self, wire: Wire, *, device: torch.device, allowed: frozenset[str] | None, say: Say) -> None:
        self._wire = wire
        self._device = device
        self._allowed = allowed
        self._say = say
        self._models: dict[int, _Held] = {}

    def follow(self, ending: Callable[[], None] = lambda: None) -> None:
        """Serve rank 0 until it ends.

        Args:
            ending: called when rank 0 has said that it ends, before it does.

        Raises:
            midstream.run.ranks.errors.LostRankError: the connection broke.
        """
        while True:
            header = json.loads(self._wire.text(0))
            if header["do"] == "end":
                ending()
                self._wire.flags(True)
                return
            self._answer(header)

    def _answer(self, header: dict[str, Any]) -> None:
        held = self._held(header)
        vector = self._vector(held) if header["vector"] else None
        if header["check"]:
            self._check(held)
        inputs, labels = held.examples
        parts: list[Span] = [(start, stop) for start, stop in header["spans"]]
        span, size = parts[self._wire.rank], header["chunk_size"]
        likes = [one for one in held.model.parameters() if one.requires_grad]
        if header["do"] == "rows":
            assert vector is not None
            given = dict(zip(held.names, vector, strict=True))
            own = self._agreed(lambda: work.rows(held.model, inputs, labels, given, span, chunk_size=size))
            if own is not None:
                joined(self._wire, own, parts)
            return
        like = flat([likes[0].new_zeros(()), *likes])
        if header["do"] == "step":
            terms = self._agreed(lambda: work.step(held.descent.gradients, inputs, labels, span, likes))
            like = torch.cat([like, like[: len(likes)]])
        else:
            apart = header["apart"]
            terms = self._agreed(
                lambda: work.sums(held.model, inputs, labels, span, chunk_size=size, apart=apart)
            )
        if terms is not None:
            added(self._wire, [flat(term) for term in terms], like)

    def _held(self, header: dict[str, Any]) -> "_Held":
        """Return the model that is asked about, with the parameters and the examples of rank 0."""
        number = header["model"]
        if header["description"] is not None:
            described = Description.read(header["description"])
            self._models[number] = _Held(described, self._device, self._allowed)
        held = self._models[number]
        if header["state"]:
            now = state(held.model)
            content = torch.empty(byte_count(now), dtype=torch.uint8, device=self._device)
            self._wire.tensor(0, content)
            with torch.no_grad():
                for one, value in zip(now, unpacked(content, now), strict=True):
                    one.copy_(value)
        held.examples = held.kept
        if header["set"] is not None:
            inputs, labels = (self._received(Kind.read(kind)) for kind in header["set"])
            held.examples = inputs, labels
        if header["keep"]:
            held.kept = held.examples
        return held

    def _received(self, kind: Kind) -> Tensor:
        found = torch.empty(kind.shape, dtype=kind.dtype, device=self._device)
        self._wire.tensor(0, found)
        return laid_out(found, channels_last=kind.channels_last)

    def _vector(self, held: "_Held") -> list[Tensor]:
        likes = [one for one in held.model.parameters() if one.requires_grad]
        content = torch.empty(byte_count(likes), dtype=torch.uint8, device=self._device)
        self._wire.tensor(0, content)
        return unpacked(content, likes)

    def _check(self, held: "_Held") -> None:
        own = digest(held.model, held.description, self._device)
        for rank in range(1, self._wire.world):
            self._wire.text(rank, own)

    def _agreed(self, own: Callable[[], T]) -> T | None:
        """Return this rank's part; None if it or that of another rank failed."""
        found: T | None = None
        try:
            found = own()
        except Exception as error:
            self._say(f"rank {self._wire.rank} failed at its part, which rank 0 computes alone: {error!r}")
        return found if all(self._wire.flags(found is not None)) else None


class _Held:
    """A model that rank 0 asks about."""

    def __init__(
        self, description: Description, device: torch.device, allowed: frozenset[str] | None
    ) -> None:
        self.description = description
        self.model: nn.Module = description.built(device, allowed)
        self.descent = Descent(self.model)  # puts it into evaluation mode
        description.settle(self.model, device)
        self.names = [name for name, one in self.model.named_parameters() if one.requires_grad]
        nothing = torch.empty(0, device=device)
        self.kept = self.examples = nothing, nothing
