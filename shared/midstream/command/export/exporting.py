"""What a finished run's attacker sent, from the same game played again."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from midstream.command.api.settings import plan_from
from midstream.command.games.game import Follow, GameError, GamePlan
from midstream.command.games.local_pipeline import LocalPipeline
from midstream.command.runs.finished import finished
from midstream.command.runs.played import PlayedRun
from midstream.run.batches import load_split
from midstream.run.datasets import Source
from midstream.run.poisons.poison import Poison, check_rows
from midstream.run.poisons.recorder import Recorder


def export(
    place: str,
    *,
    to: Path | None = None,
    everything: bool = False,
    settings: Mapping[str, object] | None = None,
    follow: Follow = lambda *_: None,
) -> tuple[dict[str, object], Path]:
    """Play a finished game again and write its poison; return the card and the file.

    Args:
        place: the run folder.
        to: the file; `poison.safetensors` in the run folder by default.
        everything: whether to write each perturbation that was sent, or the last one of each example.
        settings: settings of `midstream.play` for this machine, such as `data_root`; None leaves one unset.
        follow: called with the progress.

    Raises:
        click.UsageError: the run is not a folder, or not finished.
        GameError: the run has no attacker or no classes, or the game ended in other parameters than before.
        midstream.MidstreamError: the game cannot be played here.
    """
    played = finished(place)
    assert played.folder is not None
    refuse_what_no_file_holds(played)
    with TemporaryDirectory() as folder:
        plan = _plan(played, Path(folder), settings or {})
        poison = _played_again(played, plan, everything, follow)
    path = to or played.folder / "poison.safetensors"
    check_rows(poison, path)  # as whoever reads it will
    poison.write(path)
    return {**poison.card, "sha256": poison.sha256()}, path


def refuse_what_no_file_holds(played: PlayedRun) -> None:
    """Raise GameError if nobody attacked the run, if nobody knows who did, or if no file can hold it."""
    if played.scenario is None:
        raise GameError(
            f"{played.place} has no scenario.yaml: 'midstream play' did not run it, so its "
            f"attacker is unknown"
        )
    if played.scenario["attacker"] == "none":
        raise GameError(f"{played.place} had no attacker: nothing was sent that could be exported")
    if (played.scenario.get("batch-sizes")) == "any":
        raise GameError(
            f"the attacker of {played.place} sends other examples than came; only perturbations are exported"
        )
    if (played.result or {}).get("test_accuracy") is None:
        raise GameError(
            f"{played.place} is not a run of classification; a poison has a class for each example, and this "
            f"run has none"
        )


def _plan(played: PlayedRun, folder: Path, settings: Mapping[str, object]) -> GamePlan:
    """Return the plan of the same game in this process. Signatures do not change what is sent."""
    values = {name: value for name, value in (played.scenario or {}).items() if name != "signed"}
    if (threads := (played.environment or {}).get("threads")) is not None:
        values.setdefault("threads", threads)
    scenario = folder / "scenario.yaml"
    scenario.write_text(yaml.safe_dump({**values, "transport": "local"}), encoding="utf-8")
    plan, _ = plan_from(
        {**settings, "scenario": scenario, "transport": "local", "out": folder, "run": played.name}
    )
    return plan


def _played_again(played: PlayedRun, plan: GamePlan, everything: bool, follow: Follow) -> Poison:
    digest = (played.environment or {}).get("dataset_sha256")
    split = load_split(plan.specification, Source(plan.data_root, plan.download), dataset_sha256=digest)
    if split.task != "classification":
        raise GameError(
            f"the task of {played.place} is {split.task}; an exported file holds a class for each example"
        )
    recorder = Recorder(split.train, everything=everything)
    with LocalPipeline(plan, follow) as pipeline:
        for step in pipeline.steps():
            sent = pipeline.sent
            assert sent is not None
            recorder.add(step.seq, step.clean.to(sent.inputs), sent.inputs, sent.labels)
            follow(step.seq + 1, pipeline.total_steps, pipeline.describe(step))
        result = pipeline.result
    assert result is not None
    assert played.result is not None
    before, now = played.result["parameters_sha256"], result["parameters_sha256"]
    if now != before:
        raise GameError(
            f"played again, the game of {played.place} ends in the parameters {now[:12]}…, not in "
            f"{before[:12]}…, so its attacker sent something else here. Export it on the machine that played "
            f"it, with the versions and the threads in its environment.json"
        )
    return recorder.poison(_card(plan, result, split.dataset_sha256, everything))


def _card(
    plan: GamePlan, result: Mapping[str, Any], dataset_sha256: str | None, everything: bool
) -> dict[str, Any]:
    specification = plan.specification
    return {
        "what": "every perturbation sent" if everything else "the last perturbation sent of each example",
        "run": plan.name,
        "attacker": plan.attacker,
        "epsilon": plan.attack_budget.epsilon,
        "norm": plan.attack_budget.norm,
        "pixel_range": specification.pixel_range,
        "dataset": specification.dataset,
        "dataset_sha256": dataset_sha256,
        "train_size": specification.train_size,
        "validation_size": specification.validation_size,
        "model": specification.model,
        "access": specification.access,
        "defender": specification.defender,
        "seed": specification.seed,
        "steps": result["steps"],
        "epochs": result["epochs"],
        "test_accuracy": result["test_accuracy"],
        **(result.get("measures") or {}),
        "parameters_sha256": result["parameters_sha256"],
    }
