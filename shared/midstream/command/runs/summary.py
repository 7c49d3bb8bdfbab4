"""Summarize a run in numbers."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from midstream.command.runs.detection import detection
from midstream.command.runs.measured import judged
from midstream.command.runs.played import PlayedRun
from midstream.players.referee import PASSED_CLEAN
from midstream.players.remembering import RESUMED_ANYWAY
from midstream.tasks.words import WORDS

_EVALUATED = (
    *("test_accuracy", "test_loss", "validation_accuracy", "validation_loss"),
    *("conversion_rate", "evasion_rate"),
)

_COUNTED = (PASSED_CLEAN, RESUMED_ANYWAY)  # reports that are counted instead of averaged


def summary(run: PlayedRun) -> dict[str, Any]:
    """Return the object that `midstream inspect --json` prints.

    Budgets are in pixel units. The server does not know the attacker's perturbation, so for the attacker only
    the radius is reported.
    """
    specification, played = run.specification, run.scenario or {}
    corrections = [record["correction"] for record in run.records]
    seconds = [record["seconds"] for record in run.records]
    return {
        "run": run.place,
        "state": run.state,
        "steps": len(run.records),
        "attacker": None if run.scenario is None else played["attacker"],
        "attack_epsilon": played.get("attack-epsilon"),
        "attack_norm": played.get("attack-norm"),
        "defender": specification["defender"],
        "correction": {
            "mean": fmean(corrections) if corrections else None,
            "largest": max(corrections, default=None),
            "share_of_budget": budget_share(run),
        },
        "seconds_per_step": {"median": median(seconds), "in_all": sum(seconds)} if seconds else None,
        "learning_curve": [
            {"step": record["step"], "epoch": record["epoch"]}
            | {key: record[key] for key in (*_EVALUATED, *_measures(record))}
            for record in run.evaluated
        ],
        "best": best(run.evaluated),
        "passed_clean": {
            side: _reported(run.records, side, PASSED_CLEAN) for side in ("attacker", "defender")
        },
        "resumed_anyway": {"attacker": _reported(run.records, "attacker", RESUMED_ANYWAY)},
        "checker": _checker(run),
        "reports": {side: _reports(run.records, side) for side in ("attacker", "defender", "checker")},
        "result": run.result,
        "specification": specification,
        "environment": run.environment,
    }


def resumed_words(side: str, count: int) -> str:
    """Return the sentence for a side that was resumed with a memory that did not match the run."""
    return f"the {side} was resumed {count}× with a memory that did not match the run (--resume-anyway)"


def budget_share(run: PlayedRun) -> float | None:
    """Return the defender's mean correction over all steps, as a share of its ε."""
    epsilon = run.specification["epsilon"]
    if not run.records or epsilon == 0:
        return None
    return fmean(record["correction"] for record in run.records) / float(epsilon)


def best(evaluated: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first step with the best test accuracy; for another task, with the best headline."""
    name = judged(evaluated)
    found = max(evaluated, key=lambda record: record[name], default=None)
    return None if found is None else {key: found[key] for key in ("step", name)}


def _measures(record: Mapping[str, Any]) -> list[str]:
    """Return the names of the measures of another task in a flat record."""
    return [name for name in record if name.partition("_")[2] in WORDS and name not in _EVALUATED]


def _checker(run: PlayedRun) -> dict[str, Any] | None:
    """Return the score of a run's checker; None if it has none, or is not finished and in a folder."""
    counts = None if run.result is None else run.result.get("checker")
    return None if run.folder is None else detection(run.folder, counts, run.records)


def checker_words(found: Mapping[str, object]) -> str:
    """Return the score of a checker in one sentence."""
    words = [f"checker {found['name']}: {found['flagged']} examples flagged, {found['dropped']} dropped"]
    if found["auc"] is not None:
        words.append(f"AUC {found['auc']:.3f}")
        words.append(f"found {found['true_positives_at_5']:.1%} of the attacked examples at 5% false alarms")
    if found["detected_after"] is not None:
        words.append(f"detected after {found['detected_after']} batches")
    return ", ".join(words)


def _reported(records: Sequence[dict[str, Any]], side: str, name: str) -> int:
    return sum(name in (record[side] or {}) for record in records)


def _reports(records: Sequence[dict[str, Any]], side: str) -> dict[str, dict[str, float]]:
    reports = [record[side] for record in records if record.get(side)]
    names = dict.fromkeys(name for report in reports for name in report if name not in _COUNTED)
    numbers = {name: [report[name] for report in reports if name in report] for name in names}
    return {name: {"mean": fmean(values), "last": values[-1]} for name, values in numbers.items()}
