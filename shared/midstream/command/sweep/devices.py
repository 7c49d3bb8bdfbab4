"""The GPUs that games share."""

import torch

from midstream.command.sweep.axes import GridError


def shared_devices(device: str) -> list[str]:
    """Return the GPUs that a device's name stands for: all of them for `auto` and `cuda`, else the one named.

    Raises:
        GridError: there is none.
    """
    if device not in ("auto", "cuda", "cpu"):
        return [device]
    count = 0 if device == "cpu" else torch.cuda.device_count()
    if count == 0:
        raise GridError(
            f"games per device is for GPUs; the device is {device!r} and there is no GPU here: use workers"
        )
    return [f"cuda:{number}" for number in range(count)]
