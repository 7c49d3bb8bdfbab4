"""The GPUs that games share."""

import torch

from midstream.command.sweep.axes import GridError


def shared_devices(device: str) -> list[str]:
    """Return the devices that a name stands for: all GPUs for `auto` and `cuda`, else the one named.

    Raises:
        GridError: there is none.
    """
    if device not in ("auto", "cuda"):
        return [device]
    count = torch.cuda.device_count()
    if count == 0:
        raise GridError(
            f"games per device is for GPUs; the device is {device!r} and there is no GPU here: use workers"
        )
    return [f"cuda:{number}" for number in range(count)]
