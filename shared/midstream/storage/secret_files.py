"""Secret files, which only their owner may read: tokens and keys."""

import os
import stat
from pathlib import Path

_LARGEST = 64 * 1024


def read_secret(path: Path) -> bytes:
    """Return a secret file's content.

    Raises:
        ValueError: users other than the owner have access, or the file is too large to be a secret.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode  # of the open file: the path may change meanwhile
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(
                f"{path} holds a secret, but users other than its owner have access "
                f"(mode {stat.S_IMODE(mode):04o}): chmod 600 {path}"
            )
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{path} has more than {_LARGEST} bytes, too many for a secret")
    return content


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read.

    Raises:
        FileExistsError: the file exists. A secret in use is never overwritten.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise FileExistsError(
            f"{path} exists and is not overwritten; name another file, or move it away"
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
