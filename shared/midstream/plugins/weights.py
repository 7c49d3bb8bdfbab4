"""The files that a plug-in's text names as a model's weights, `resnet18,weights=ours.pt`."""

from hashlib import sha256
from pathlib import Path


def permitted(text: str) -> list[str]:
    """Return what a text lets a process load if its own user wrote it: the plug-in, and a model's weights.

    >>> permitted("resnet18,norm=group, weights = ours.pt")
    ['resnet18', 'ours.pt']
    >>> permitted("folder:owls, all")
    ['folder:owls, all']
    """
    if text.startswith("folder:"):
        return [text]
    name, *options = text.split(",")
    pairs = [one.partition("=") for one in options]
    return [name.strip(), *(value.strip() for key, _, value in pairs if key.strip() == "weights")]


def weights_sha256(text: str) -> dict[str, str]:
    """Return the SHA-256 of the files of weights in a model's text, by name; missing files have none."""
    files = {name: Path(name) for name in permitted(text)[1:]}
    return {name: sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file.is_file()}
