"""A tensor with one row for each input, and an index from an input's content to its row."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from midstream.mathematics.inputs.content_keys import KEY_BYTES


class Places(NamedTuple):
    """Where the rows of one batch are.

    Attributes:
        keys: the content keys of the batch; one that repeats has one row.
        rows: the row of each example, `(batch,)`, int64, on the device of the table.
        last: position in the batch of the last example of each row; None if no key repeats.
    """

    keys: Sequence[bytes]
    rows: Tensor
    last: Tensor | None


class _Write(NamedTuple):
    places: Places
    before: Tensor


class _Cleared(NamedTuple):
    places: dict[bytes, int]
    table: Tensor | None
    marked: int
    writes: list[_Write]


class Rows:
    """Rows by content key, in one tensor: one gather reads those of a batch, one scatter writes them.

    A key that was never written has a row of zeros. The tensor grows as keys are added. From the first `mark`
    on, the rows that were overwritten since the last mark are kept, so that `back` can restore them.

    >>> rows, values = Rows(), torch.ones(2, 3)
    >>> rows.write(rows.places([b"a" * 16, b"b" * 16], like=values), values)
    >>> rows.read(rows.places([b"b" * 16, b"c" * 16], like=values)).sum(dim=1)
    tensor([3., 0.])
    """

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}
        self._table: Tensor | None = None
        self._shared = False  # a state that was returned or loaded shares the tensor's memory
        self._left_out = False
        self._marked = 0  # number of keys at the last mark
        self._writes: list[_Write] | None = None
        self._cleared: _Cleared | None = None
        self._given: tuple[Places, list[Tensor]] | None = None
        self._stays = False

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: bytes) -> bool:
        return key in self._index

    @property
    def marked(self) -> bool:
        """Whether `mark` was called since the rows were made, cleared or loaded."""
        return self._writes is not None

    def reserve(self, count: int, *, like: Tensor) -> None:
        """Make room for `count` rows, so that the tensor need not grow until there are more."""
        self._room(count, like)

    def places(self, keys: Sequence[bytes], *, like: Tensor) -> Places:
        """Return where the rows of a batch are, after making room for new ones.

        Args:
            keys: the content keys of the batch.
            like: a batch of rows, `(batch, *row)`; it decides shape, dtype and device.

        Raises:
            ValueError: rows of another shape were written before.
        """
        if self._given is not None:
            return self._given[0]
        index = self._index
        found = [index.setdefault(key, len(index)) for key in keys]
        self._room(len(index), like)
        final = dict(zip(found, range(len(found)), strict=True))
        last = None if len(final) == len(found) else _sent(list(final.values()), like.device)
        return Places(keys, _sent(found, like.device), last)

    def read(self, places: Places) -> Tensor:
        """Return the rows at these places, `(batch, *row)`."""
        assert self._table is not None
        return self._table.index_select(0, places.rows)

    def recall(self, keys: Sequence[bytes], *, like: Tensor) -> Tensor:
        """Return the rows of these keys, `(batch, *row)`, like `like`; no key is added.

        Raises:
            ValueError: rows of another shape were written before.
        """
        if self._given is not None:
            return self.read(self._given[0])
        known = len(self._index)
        found = [self._index.get(key, known) for key in keys]
        if known == 0:
            return torch.zeros_like(like, memory_format=torch.contiguous_format)
        self._room(known + 1, like)  # the row behind the last one is zero
        assert self._table is not None
        return self._table.index_select(0, _sent(found, like.device))

    def write(self, places: Places, values: Tensor) -> None:
        """Replace the rows at these places; of several values for one key, the last one counts."""
        if self._given is not None:
            self._given[1].append(values)
            return
        if self._writes is not None:
            self._writes.append(_Write(places, self.read(places)))
        rows = places.rows
        if places.last is not None:
            rows, values = rows[places.last], values[places.last]
        self._own().index_copy_(0, rows, values)

    def put(self, keys: Sequence[bytes], values: Tensor) -> None:
        """Replace the rows of these keys, whatever the values' dtype and device."""
        values = values if self._table is None else values.to(self._table)
        self.write(self.places(keys, like=values), values)

    def mark(self) -> None:
        """Take the present rows as those that `back` restores."""
        self._marked, self._writes, self._cleared = len(self._index), [], None

    def back(self) -> None:
        """Restore the rows of the last mark, even if they were cleared since."""
        if self._cleared is not None:
            self._index, self._table, self._marked, self._writes = self._cleared
            self._shared, self._cleared = True, None
        for write in reversed(self._writes or []):
            self._own().index_copy_(0, write.places.rows, write.before)
        while len(self._index) > self._marked:
            self._index.popitem()
        self._writes = []

    def written(self) -> tuple[list[bytes], Tensor | None]:
        """Return the keys written since the last mark, or all, and their rows; None if there are none."""
        each = self._index if self._writes is None else (k for w in self._writes for k in w.places.keys)
        keys = list(dict.fromkeys(each))
        if not keys or self._table is None:
            return [], None
        return keys, self._table[torch.tensor([self._index[key] for key in keys], device=self._table.device)]

    def forget(self, keys: Sequence[bytes]) -> None:
        """Make the rows of these keys zero, those of keys that were never written."""
        known = [key for key in keys if key in self]
        if known and self._table is not None:
            self.put(known, self._table.new_zeros((len(known), *self._table.shape[1:])))

    def clear(self) -> None:
        """Delete all rows."""
        if self._writes is not None:
            self._cleared = _Cleared(self._index, self._table, self._marked, self._writes)
        self._index, self._table, self._shared = {}, None, False
        self._marked, self._writes = 0, None

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Leave the rows out of `state_dict` and `load_state_dict` within this context.

        A host that stores the rows of each batch by itself reads a player's other state like this.
        """
        before, self._left_out = self._left_out, True
        try:
            yield
        finally:
            self._left_out = before

    @contextmanager
    def given(self, places: Places) -> Iterator[list[Tensor]]:
        """Within this context every batch has these places, and what is written goes to the returned list.

        A host that knows the places runs a player's move like this as a pure function of tensors, and writes
        the rows afterwards.
        """
        written: list[Tensor] = []
        self._given = places, written
        try:
            yield written
        finally:
            self._given = None

    def stay(self) -> None:
        """From now on, keep the tensor where it is while it has room: a state that is returned is a copy."""
        self._own()
        self._stays = True

    @property
    def table(self) -> Tensor | None:
        """The tensor that holds the rows; None before the first one."""
        return self._table

    def state_dict(self) -> dict[str, Tensor]:
        """Return `keys`, `(rows, 16)` uint8, and `rows`, `(rows, *row)`; nothing if there are no rows."""
        if self._left_out or self._table is None or not self._index:
            return {}
        keys = torch.frombuffer(bytearray(b"".join(self._index)), dtype=torch.uint8)
        rows = self._table[: len(self._index)]
        self._shared = not self._stays
        return {"keys": keys.view(-1, KEY_BYTES), "rows": rows.clone() if self._stays else rows}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace all rows by those that `state_dict` returned."""
        if self._left_out:
            return
        self.clear()
        if state:
            keys = state["keys"].cpu().numpy()
            self._index = {row.tobytes(): place for place, row in enumerate(keys)}
            self._table, self._shared = state["rows"], True

    def _room(self, count: int, like: Tensor) -> None:
        table, shape = self._table, like.shape[1:]
        if table is None:
            self._table = like.new_zeros((count, *shape))
            return
        if table.shape[1:] != shape:
            raise ValueError(f"the rows have shape {tuple(table.shape[1:])}, this batch has {tuple(shape)}")
        if len(table) < count:
            grown = table.new_zeros((max(count, 2 * len(table)), *shape))
            grown[: len(table)] = table
            self._table, self._shared = grown, False
        if table.dtype != like.dtype or table.device != like.device:
            self._table, self._shared = self._table.to(like), False  # type: ignore[union-attr]

    def _own(self) -> Tensor:
        """Return the tensor to write into, which no state shares."""
        assert self._table is not None
        if self._shared:
            self._table, self._shared = self._table.clone(), False
        return self._table


def _sent(numbers: list[int], device: torch.device) -> Tensor:
    """Return numbers on a device, without waiting for what it computes now."""
    found = torch.tensor(numbers)
    return found.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else found.to(device)
