"""A run's records as JSON or CSV: encoded off the event loop, a few at a time, as their reader takes them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from pydantic import TypeAdapter

from midstream.storage.run_folder import as_csv
from midstream_server.http.messages import COLUMNS, Record

Records = Sequence[Mapping[str, Any]]
T = TypeVar("T")

AT_ONCE = 200
"""Records that are encoded at a time: about a millisecond, in which nothing else of this process runs."""

_REST = 2.0  # as long as the work took: the training runs in this process, too
_RECORDS = TypeAdapter(list[Record])
_thread = ThreadPoolExecutor(1, thread_name_prefix="history")


async def aside(work: Callable[[], T]) -> T:
    """Return what work comes to, done in the one thread that serves those who watch.

    After each piece of work the thread rests, so that it takes a third of the interpreter's time at most.
    """

    def work_and_rest() -> T:
        began = time.perf_counter()
        try:
            return work()
        finally:
            time.sleep(_REST * (time.perf_counter() - began))

    return await asyncio.get_running_loop().run_in_executor(_thread, work_and_rest)


async def json_pieces(run: str, records: Records) -> AsyncIterator[bytes]:
    """Give the members of `midstream_server.http.messages.Metrics` as JSON."""
    yield b'{"run":%s,"records":[' % TypeAdapter(str).dump_json(run)
    for first in range(0, len(records), AT_ONCE):
        piece = records[first : first + AT_ONCE]
        yield (b"," if first else b"") + await aside(partial(_members, piece))
    yield b"]}"


async def csv_pieces(records: Records) -> AsyncIterator[bytes]:
    """Give the records as CSV, below a line of their columns."""
    heading = as_csv([], COLUMNS)
    yield heading.encode()
    for first in range(0, len(records), AT_ONCE):
        piece = records[first : first + AT_ONCE]
        text = await aside(partial(as_csv, piece, COLUMNS))
        yield text[len(heading) :].encode()


def _members(records: Records) -> bytes:
    try:
        return json.dumps(records, allow_nan=False, ensure_ascii=False, separators=(",", ":"))[1:-1].encode()
    except ValueError:  # JSON has no infinity: it is null
        return _RECORDS.dump_json(_RECORDS.validate_python(records))[1:-1]
