"""The data set of a run, for an attacker that possesses it."""

from torch import Tensor

from midstream.players.interface import Batch
from midstream.run.batches import BatchSource, load_split
from midstream_proxy.attack import AttackSettings, Game
from midstream_proxy.reading.host_errors import hosting
from midstream_proxy.reading.upcoming import UpcomingBatches


class PossessedData:
    """The training data on this machine, read when an attacker first asks for them.

    Args:
        game: what can be read of the run.
        settings: the attacker's settings: where the data are, and on which device it wants them.
        batches: the run's batches; None makes them from the data set.

    Every method raises what `load_split` raises, through `hosting`.
    """

    def __init__(self, game: Game, settings: AttackSettings, batches: BatchSource | None) -> None:
        self._game = game
        self._settings = settings
        self._known = batches

    def train(self) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of the training data, on the attacker's device."""
        train, device = self._batches().train, self._settings.device
        return train.pixels().to(device), train.labels.to(device)

    def index(self) -> Tensor:
        """Return the place of each training example in its data set.

        Raises:
            LookupError: the data set does not say.
        """
        index = self._batches().train.index
        if index is None:
            raise LookupError("this host does not know where the training data are in their data set")
        return index

    def upcoming(self, batch: Batch, count: int) -> list[Batch]:
        """Return the next clean batches; see `UpcomingBatches.after`."""
        return UpcomingBatches(self._batches()).after(batch, count)

    def _batches(self) -> BatchSource:
        if self._known is None:
            specification = self._game.specification()
            with hosting():
                split = load_split(
                    specification,
                    self._settings.source,
                    allowed=self._settings.allowed,
                    dataset_sha256=self._game.dataset_sha256(),
                )
            self._known = BatchSource(specification, split.train)
        return self._known
