"""Files whose content nobody but their owner may read: tokens and keys."""

import os
import stat
from pathlib import Path

_LARGEST = 64 * 1024


def read_secret(path: Path) -> bytes:
    """Return a secret file's content.

    Raises:
        ValueError: others than its owner can read or write it, or it is too large to be a secret.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode  # of the file that is read, whatever the path names next
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(
                f"{path} holds a secret, and others than its owner can use it "
                f"(mode {stat.S_IMODE(mode):04o}): chmod 600 {path}"
            )
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{path} has more than {_LARGEST} bytes, which is no secret")
    return content


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone can read.

    Raises:
        FileExistsError: there is such a file; a secret in use is never overwritten.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise FileExistsError(
            f"{path} exists and is left as it is; name another file, or move it away"
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
