"""What a run's checker found: counts for the result, and each example's suspicion in a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midstream.players.checking import Gate
from midstream.storage.lines import append_line, cut_lines, sha256_of
from midstream.storage.run_folder import FINDINGS, synchronise
from midstream_server.runs.step import Step


class Findings:
    """The findings of one run's checker.

    Each step is one line of `checker.jsonl`: its number, the batch's suspicion, each example's, and which
    examples are flagged. A resumed run cuts the file to the checkpoint and writes the later lines again.

    Args:
        folder: the run folder.
        gate: the checker and its action; None for no checker, which finds nothing.
    """

    def __init__(self, folder: Path, gate: Gate | None) -> None:
        self._path = folder / FINDINGS
        self._gate = gate
        self._flagged = self._dropped = self._alarms = 0
        self._first_alarm: int | None = None
        self._written = 0

    def cut(self, step: int) -> None:
        """Remove the lines after a step."""
        cut_lines(self._path, lambda line: line["step"] <= step)
        self._written = step

    def record(self, step: Step) -> dict[str, float] | None:
        """Write a step's line, and return what its metrics say of the checker; None without a checker.

        A step that is recorded again, because its metrics could not be written, has one line.

        Raises:
            OSError: the line could not be written.
        """
        if self._gate is None or (found := step.finding) is None:
            return None
        flagged = found.flagged.nonzero()[:, 0].tolist()
        line = {"step": step.step, "batch": found.batch, "examples": found.examples, "flagged": flagged}
        if step.step > self._written:
            append_line(self._path, line)
            self._written = step.step
        dropped = len(flagged) if self._gate.action == "drop" else 0
        own = {
            "suspicion": found.batch,
            "flagged": len(flagged),
            "dropped": dropped,
            "alarm": int(found.alarm),
        }
        return {**found.reported, **own}

    def count(self, record: Mapping[str, Any]) -> None:
        """Count a recorded step."""
        found = record.get("checker") or {}
        self._flagged += int(found.get("flagged", 0))
        self._dropped += int(found.get("dropped", 0))
        if found.get("alarm"):
            self._alarms += 1
            self._first_alarm = self._first_alarm or record["step"]

    def synchronise(self) -> None:
        """Return once the lines are on the disk."""
        if self._path.exists():
            synchronise(self._path)

    def result(self) -> dict[str, object] | None:
        """Return what the run's result says of the checker; None without a checker."""
        if self._gate is None:
            return None
        return {
            "name": self._gate.name,
            "flagged": self._flagged,
            "dropped": self._dropped,
            "alarms": self._alarms,
            "first_alarm": self._first_alarm,
        }

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of the file by name; empty without a checker."""
        found = None if self._gate is None else sha256_of(self._path)
        return {} if found is None else {FINDINGS: found}
