"""Pictures of clean examples and their perturbations, in the attacker's own folder, if it is told to."""

from pathlib import Path

from torch import Tensor

from midstream.protocol.wire import WireBatch
from midstream.storage.pictures import PICTURED, clean_sheet
from midstream.storage.run_folder import write_whole
from midstream.storage.sqlite import StorageError


class CleanPictures:
    """Draws the first examples of the first batch of each epoch: the ones that the server draws, too.

    Args:
        folder: where to write; it is created.
        every: number of batches of an epoch.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._folder = folder
        self._every = every

    def note(self, unmoved: Tensor, sent: WireBatch) -> None:
        """Draw a batch if its pictures are due.

        Args:
            unmoved: the inputs before they were moved, as pixels. Of an attacker who chooses which examples
                are sent, they are those that it chose.
            sent: the batch after the attack.

        Raises:
            midstream.storage.sqlite.StorageError: the picture could not be written.
        """
        if sent.seq % self._every or unmoved.dim() != 4 or unmoved.shape[1] not in (1, 3):
            return
        clean, attacked = (inputs[:PICTURED].cpu() for inputs in (unmoved, sent.inputs))
        path = self._folder / f"{sent.seq:07d}.png"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, clean_sheet(clean, attacked), durably=False)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}") from error
