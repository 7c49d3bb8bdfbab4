"""Pictures of clean examples and their perturbations, in the attacker's own folder, if it is told to."""

from pathlib import Path

from torch import Tensor

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

    def note(self, seq: int, clean: Tensor, attacked: Tensor) -> None:
        """Draw a batch if its pictures are due.

        Args:
            seq: the batch's number.
            clean: its inputs before they were moved, in pixels: those that came, or those that the attacker
                composed of them.
            attacked: its inputs after that, as many.

        Raises:
            midstream.storage.sqlite.StorageError: the picture could not be written.
        """
        if seq % self._every or clean.dim() != 4 or clean.shape[1] not in (1, 3):
            return
        path = self._folder / f"{seq:07d}.png"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            sheet = clean_sheet(clean[:PICTURED].cpu(), attacked[:PICTURED].cpu())
            write_whole(path, sheet, durably=False)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}") from error
