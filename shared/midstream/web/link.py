"""A link of the pipeline over HTTP."""

from collections.abc import Callable

from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.wire import WireBatch, encode_batch
from midstream.web.client import Client


class HttpLink:
    """Sends a run's batches to a server, or to a proxy in front of it.

    Args:
        client: the server or the proxy.
        run: the run's name.
        meanwhile: called with the number of the next batch once one has been sent, while the server works on
            it; perhaps more than once.
    """

    def __init__(
        self, client: Client, run: str, *, meanwhile: Callable[[int], None] = lambda _: None
    ) -> None:
        self._client = client
        self._run = run
        self._meanwhile = meanwhile

    @property
    def url(self) -> str:
        """Where the batches go."""
        return self._client.url

    def put(self, batch: WireBatch) -> Acknowledgement:
        """Send one minibatch, and return its acknowledgement; see `Client.put_batch`."""
        return self._client.put_batch(
            self._run, batch.seq, encode_batch(batch), meanwhile=lambda: self._meanwhile(batch.seq + 1)
        )
