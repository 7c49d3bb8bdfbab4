"""What a host does when a player fails. Without torch, so that `--help` can list the choices quickly."""

from typing import Literal

OnError = Literal["stop", "pass-clean"]
"""What the host does with a batch at which a player fails: refuse it, or pass it on unchanged."""
