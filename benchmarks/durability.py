"""(f) The cost of durability: the journal, the checkpoints and the attacker's memory."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measure import Row, interleaved
from benchmarks.synthetic import mnist_like
from midstream.protocol.checks import BatchRules
from midstream.protocol.specification import Specification
from midstream.protocol.wire import decode_batch, encode_batch
from midstream.run.batches import BatchSource
from midstream.run.datasets import Source, Split
from midstream.run.datasets import split as split_dataset
from midstream.storage.run_folder import RunFolder
from midstream_proxy.attack import AttackSettings
from midstream_proxy.memory.recognised import Going, open_memory
from midstream_proxy.memory.remembered import RememberedAttack
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.hosting.answers import content_digest
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.recovery.durable import DurableRun
from midstream_server.runs.recovery.journal import Journal
from midstream_server.runs.training import TrainingRun

_EVERY = 100
_STEPS = 250  # enough steps to trim the journal twice


def rows(device: torch.device, turns: int) -> list[Row]:
    split = split_dataset(mnist_like(Source()), validation_size=5_000, train_size=None, seed=0)
    # In the project folder, as run folders are: the temporary folder may be in memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-") as folder:
        out = Path(folder)
        game = {name: _step(name, "level-1", split, device, out) for name in ("durable", "recorded")}
        seconds = interleaved(game, device, 2 * turns)
        clean = {f"clean {name}": _step(name, "none", split, device, out) for name in ("durable", "recorded")}
        seconds |= interleaved(clean, device, 10 * turns)
        largest = _largest_journal(split, device, out)
    cost = seconds["durable"] / seconds["recorded"]
    alone = seconds["clean durable"] - seconds["clean recorded"]
    return [
        Row(
            "(f) a level-1 against level-1 step that nothing is lost of, against one that may be",
            f"{cost:.3f}×",
            "at most 1.10×",
            cost <= 1.10 if device.type == "cpu" else None,
        ),
        Row(
            "    nobody attacking or defending",
            f"{seconds['clean durable'] / seconds['clean recorded']:.2f}×, {1e3 * alone:.1f} ms a step",
        ),
        Row(f"    the journal's size in {_STEPS} steps of 1.6 MB", f"at most {largest / 2**20:.0f} MiB"),
    ]


def _specification(player: str) -> Specification:
    settings = {"dataset": "mnist", "defender": player, "epochs": 1000, "evaluate_every": 10_000}
    return Specification.model_validate(settings)


def _step(kind: str, player: str, split: Split, device: torch.device, out: Path) -> Callable[[], object]:
    specification = _specification(player)
    run = TrainingRun(specification, split, device=device)
    batches = BatchSource(specification, split.train)
    settings = AttackSettings(player, 3.0, device=device, allowed=None)
    attacked = AttackedRun(LocalGame(run), settings)
    attacked.prepare()
    rules = BatchRules(specification, run.train_size, run.input_shape, len(run.classes))
    recorded = RecordedRun(run, RunFolder(out / f"{kind}-{player}"))
    if kind == "recorded":

        def step() -> None:
            batch = decode_batch(b"".join(encode_batch(batches.batch(run.step))))
            rules.check(batch, seq=run.step)
            batch = decode_batch(b"".join(encode_batch(attacked.attack(batch))))
            recorded.train(rules.check(batch, seq=run.step), batch.report)
            recorded.settle()

        return step

    going = Going(recorded.identity, settings)
    memory = open_memory(out / f"attack-{player}.sqlite", going)
    attack = RememberedAttack(attacked, rules, memory, _Itself(recorded), going)
    journal = Journal(out / f"journal-{player}.sqlite", recorded.provenance)
    durable = DurableRun(recorded, journal, checkpoint_every=_EVERY)

    def durable_step() -> None:
        came = b"".join(encode_batch(batches.batch(run.step)))
        body = attack.answer(run.step, came)
        batch = decode_batch(body)
        durable.take(batch, content_digest(batch), body)
        attack.acknowledged(kept_from=durable.kept_from)
        durable.settle()

    return durable_step


class _Itself:
    """A run in the attacker's process that answers like a server."""

    def __init__(self, recorded: RecordedRun) -> None:
        self._recorded = recorded

    def identity(self) -> str:
        return self._recorded.identity

    def step(self) -> int:
        return self._recorded.run.step

    def took(self, seq: int, body: bytes) -> bool | None:
        raise AssertionError(f"batch {seq} of {len(body)} bytes was acknowledged")


def _largest_journal(split: Split, device: torch.device, out: Path) -> int:
    specification = _specification("none")
    run = TrainingRun(specification, split, device=device)
    batches = BatchSource(specification, split.train)
    recorded = RecordedRun(run, RunFolder(out / "size"))
    journal = Journal(out / "size.sqlite", recorded.provenance)
    durable = DurableRun(recorded, journal, checkpoint_every=_EVERY)
    largest = 0
    for seq in range(_STEPS):
        body = b"".join(encode_batch(batches.batch(seq)))
        batch = decode_batch(body)
        durable.take(batch, content_digest(batch), body)
        durable.settle()
        largest = max(largest, sum(path.stat().st_size for path in out.glob("size.sqlite*")))
    return largest
