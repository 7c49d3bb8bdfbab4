"""Which parts of an environment affect the bits of a result. It imports nothing, so it is read fast."""

AFFECTING_BITS = (
    "midstream",
    "python",
    "torch",
    "numpy",
    "torchvision",
    "timm",
    "device",
    "device_name",
    "cpu_capability",
    "threads",
    "precision",
    "derivatives",
    "dataset_sha256",
)
"""Keys of `environment.json`. A resume compares them, and `compare` shows those that differ."""
