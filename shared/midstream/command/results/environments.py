"""What trials that are averaged were played with: versions, processors, threads and data."""

from collections.abc import Iterable, Mapping

PARTS = ("midstream", "torch", "device_name", "cpu_capability", "threads")
"""The parts of the environment that trials of one sweep share, unless something changed meanwhile."""


def differing(environments: Iterable[tuple[str, Mapping[str, object]]]) -> list[str]:
    """Describe what trials were played with differently, apart from their settings.

    Args:
        environments: the data set and the environment of each trial.

    >>> differing([("digits", {"torch": "2.9", "threads": 1}), ("mnist", {"torch": "2.10", "threads": 1})])
    ['torch: 2.9 and 2.10']
    """
    seen: dict[str, dict[str, None]] = {}
    for dataset, environment in environments:
        parts = {name.replace("_", " "): environment.get(name) for name in PARTS}
        parts[f"SHA-256 of {dataset}"] = environment.get("dataset_sha256")
        for name, value in parts.items():
            seen.setdefault(name, {})[str(value)] = None
    return [f"{name}: {' and '.join(values)}" for name, values in seen.items() if len(values) > 1]
