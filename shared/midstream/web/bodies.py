"""Request bodies of limited size."""

from collections.abc import AsyncIterable, AsyncIterator

from midstream.protocol.problem import Problem
from midstream.web.asgi import Message, Receive, Scope


async def read_limited(declared: str, pieces: AsyncIterable[bytes], *, most: int, limit: str) -> bytes:
    """Read a whole body of limited size. Its bytes are counted as they arrive.

    Args:
        declared: the request's Content-Length, which may be wrong; `0` if there is none.
        pieces: the body, as it arrives.
        most: maximum size, in bytes.
        limit: who has the limit, as the beginning of a sentence such as `a batch of this run has`.

    Raises:
        Problem: 413 if the body is larger than `most`, or its Content-Length is larger or not a number.
    """
    too_large = Problem(413, "The body is too large", f"{limit} at most {most} bytes")
    if not declared.isdecimal() or int(declared) > most:
        raise too_large
    arrived, size = [], 0
    async for piece in pieces:
        arrived.append(piece)
        size += len(piece)
        if size > most:
            raise too_large
    return b"".join(arrived)


async def whole_body(scope: Scope, receive: Receive, *, most: int) -> Receive:
    """Read a whole body of limited size, and return a `receive` that passes it to the application.

    Raises:
        Problem: 413 as for `read_limited`; 400 if the client disconnects before the body's end.
    """
    declared = dict(scope["headers"]).get(b"content-length", b"0").decode("latin-1")
    body = await read_limited(declared, _pieces(receive), most=most, limit="this resource takes")
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "The body broke off", "the client hung up before its end; nothing was done")
        yield message.get("body", b"")
        more = message.get("more_body", False)
