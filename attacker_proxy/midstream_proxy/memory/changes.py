"""What one answer changes in an attacker's state, as records for its memory's file."""

from collections.abc import Mapping
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from midstream.mathematics.inputs.rows import Rows
from midstream_proxy.memory.records import BlockRecord, TensorRecord, checksum
from midstream_proxy.memory.stored_rows import Block, Blocks, block_record
from midstream_proxy.memory.stored_state import Known, Stored, known_of, summed


class Changes(NamedTuple):
    """The changes of a state, and what it is after them.

    Attributes:
        tensors: the records of tensors that are new, changed or gone.
        blocks: the record of the rows that were written, if there are any.
        known: the new or changed tensors, by name.
        gone: the names that the state no longer has.
        state: exclusive or of the checksums of the state's records after the changes.
    """

    tensors: list[TensorRecord]
    blocks: list[BlockRecord]
    known: dict[str, Known]
    gone: set[str]
    state: int

    @property
    def block(self) -> Block | None:
        """The rows that were written, without their values."""
        return Block.of(self.blocks[0]) if self.blocks else None


def changes(run: str, number: int, stored: Stored, state: Mapping[str, Tensor], rows: Rows | None) -> Changes:
    """Return what an answer changes in the stored state.

    Args:
        run: the run's identity.
        number: the answer; 0 for the state at the start.
        stored: the state before it.
        state: the state after it, without its rows. A tensor has changed if it is another object, or if
            torch has written to it.
        rows: the rows after it, if there are any.
    """
    before = stored.known
    changed = {
        name: value
        for name, value in state.items()
        if (known := before.get(name)) is None or not known.is_still(value)
    }
    gone = before.keys() - state.keys()
    records, new = [], {}
    for name, value in changed.items():
        content = safetensors.torch.save({"value": value.detach().cpu().contiguous()})
        records.append(record := _record(run, name, number, content))
        new[name] = known_of(value, record)
    records += [_record(run, name, number, None) for name in gone]
    keys, values = ([], None) if rows is None else _written(rows, stored.blocks)
    blocks = [] if values is None else [block_record(run, number, keys, values)]
    old = [before[name].checksum for name in (*changed, *gone) if name in before]
    moved = [stored.blocks.change_by(Block.of(block)) for block in blocks]
    earlier = 0 if stored.place is None else stored.place.state
    now = summed((earlier, *old, *moved, *(one.checksum for one in new.values())))
    return Changes(records, blocks, new, gone, now)


def _written(rows: Rows, before: Blocks) -> tuple[list[bytes], Tensor | None]:
    """Return the rows that were written, and zeros for those that the attacker has dropped.

    An attacker drops rows when it clears its history, loads another one or makes a new one.
    """
    keys, values = rows.written()
    dropped = [] if rows.marked else [key for key in before.held() if key not in rows]
    if not dropped:
        return keys, values
    shape = (0,) if values is None else values.shape[1:]  # without a row, the file needs no shape
    zeros = torch.zeros((len(dropped), *shape)).to(torch.empty(0) if values is None else values)
    return [*keys, *dropped], zeros if values is None else torch.cat([values, zeros])


def _record(run: str, name: str, number: int, value: bytes | None) -> TensorRecord:
    found = checksum(run, "tensor", name, number, value)
    return TensorRecord(name, number, int.from_bytes(found), value)
