"""The file that repeats a game of the dashboard at the command line."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from midstream.protocol.messages.games import AttackerName
from midstream.storage.run_folder import write_whole
from midstream_server.runs.hosting.hosted import HostedRun


def write_scenario(run: HostedRun, attacker: AttackerName, *, options: Sequence[str]) -> Path:
    """Write `scenario.yaml` to the run folder, as `midstream play` does, and return its path.

    Args:
        run: the run.
        attacker: its attacker.
        options: how the attacker computes and where data are, as on its command line; flags are left out.
    """
    specification = run.specification
    settings: dict[str, object] = {
        "attacker": attacker,
        "attack-epsilon": specification.epsilon,
        "attack-norm": specification.norm,
        "lr": specification.learning_rate,
        **specification.model_dump(exclude={"name", "learning_rate"}),
    }
    words = iter(options)
    for flag in words:
        if flag != "--show-clean":
            word = next(words)
            settings[flag.removeprefix("--")] = int(word) if flag == "--threads" else word
    named = {key.replace("_", "-"): value for key, value in settings.items() if value is not None}
    path = run.recorded.folder.path / "scenario.yaml"
    text = yaml.safe_dump(named, sort_keys=False)
    write_whole(path, f"# midstream play {path}\n{text}".encode())
    return path
