"""The precisions by name. Without torch, so that `--help` can list them quickly."""

from typing import Literal

Precision = Literal["float32", "tf32", "bfloat16"]
"""In what a process computes its derivatives and steps; see `midstream.run.process.precision`."""
