"""A request body as a list of buffers, which are sent without being joined."""

from collections.abc import Iterator

Buffer = bytes | memoryview

SEND_CHUNK = 256 * 1024
"""Maximum size of a piece that `slices` yields, in bytes."""


def length(buffers: list[Buffer]) -> int:
    """Return how many bytes the buffers hold together."""
    return sum(len(buffer) for buffer in buffers)


def slices(buffers: list[Buffer]) -> Iterator[bytes]:
    """Walk the buffers in pieces that a client library sends quickly."""
    for buffer in buffers:
        view = memoryview(buffer)
        for start in range(0, len(view), SEND_CHUNK):
            yield bytes(view[start : start + SEND_CHUNK])
