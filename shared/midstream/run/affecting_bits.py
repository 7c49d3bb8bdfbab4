"""Which parts of an environment affect a result's bits. This module imports nothing, so that reading is light."""

AFFECTING_BITS = (
    "midstream",
    "python",
    "torch",
    "numpy",
    "device",
    "device_name",
    "cpu_capability",
    "threads",
    "precision",
    "derivatives",
    "dataset_sha256",
)
"""Keys of `environment.json`. A resume compares them, and `compare` shows those that differ."""
