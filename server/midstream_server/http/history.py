"""A run's records as JSON or CSV, encoded off the event loop in small pieces, at the reader's pace."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from pydantic import TypeAdapter

from midstream.protocol.messages.history import COLUMNS, Record
from midstream.storage.run_folder import as_csv

Records = Sequence[Mapping[str, Any]]
T = TypeVar("T")

AT_ONCE = 200
"""Records encoded at a time. This takes about a millisecond, during which the process does nothing else."""

_REST = 2.0  # pause after each piece, relative to its duration: training shares this process
_RECORDS = TypeAdapter(list[Record])
_thread = ThreadPoolExecutor(1, thread_name_prefix="history")


async def aside(work: Callable[[], T]) -> T:
    """Run `work` in the one thread that serves watchers, and return its result.

    The thread rests after each piece of work, so that it uses at most a third of the interpreter's time.
    """

    def work_and_rest() -> T:
        began = time.perf_counter()
        try:
            return work()
        finally:
            time.sleep(_REST * (time.perf_counter() - began))

    return await asyncio.get_running_loop().run_in_executor(_thread, work_and_rest)


async def json_pieces(run: str, records: Records) -> AsyncIterator[bytes]:
    """Yield the JSON of `midstream.protocol.messages.history.Metrics`, in pieces."""
    yield b'{"run":%s,"records":[' % TypeAdapter(str).dump_json(run)
    for first in range(0, len(records), AT_ONCE):
        piece = records[first : first + AT_ONCE]
        yield (b"," if first else b"") + await aside(partial(_members, piece))
    yield b"]}"


async def csv_pieces(records: Records) -> AsyncIterator[bytes]:
    """Yield the records as CSV, after a line of column names."""
    heading = as_csv([], COLUMNS)
    yield heading.encode()
    for first in range(0, len(records), AT_ONCE):
        piece = records[first : first + AT_ONCE]
        text = await aside(partial(as_csv, piece, COLUMNS))
        yield text[len(heading) :].encode()


def _members(records: Records) -> bytes:
    try:
        return json.dumps(records, allow_nan=False, ensure_ascii=False, separators=(",", ":"))[1:-1].encode()
    except ValueError:  # JSON has no infinity; it becomes null
        return _RECORDS.dump_json(_RECORDS.validate_python(records))[1:-1]
