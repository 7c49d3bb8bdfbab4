"""(c) Three processes compared with one; (d) games without players compared with plain PyTorch loops.

The digits are so small that a step of their network is mostly the program's own work. Their local game is the
whole of `play --transport local`, evaluations, pictures and metrics included; the loop evaluates nothing.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.local_game import DATASET
from benchmarks.measure import Row, interleaved
from benchmarks.synthetic import mnist_like, photos_like
from midstream.command.games.game import GamePlan
from midstream.command.games.local_pipeline import LocalPipeline
from midstream.command.games.processes import Services
from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.checks import BatchRules
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source, Split
from midstream.run.datasets import split as split_dataset
from midstream.run.models import build_model
from midstream.web.client import Client
from midstream.web.hosting import listen, url_of
from midstream.web.link import HttpLink
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun

_PHOTOS = f"{Path(__file__).with_name('synthetic.py')}:photos_like"


def rows(device: torch.device, turns: int) -> list[Row]:
    attacked, clean = _specification("level-1"), _specification("none")
    split = split_dataset(mnist_like(Source()), validation_size=5_000, train_size=None, seed=0)
    with ExitStack() as stack:
        games = {
            "local": _local(attacked, split, device),
            "shared": stack.enter_context(Pipeline("level-1", "server", device)).play(attacked, split),
            "own": stack.enter_context(Pipeline("level-1", "own", device)).play(attacked, split),
        }
        game = interleaved(games, device, turns)
        streams = {
            "streamed": stack.enter_context(Pipeline("none", "server", device)).play(clean, split),
            "bare": _bare_loop(clean, split, device),
        }
        stream = interleaved(streams, device, 10 * turns)
    local, shared, own = game["local"], game["shared"], game["own"]
    streamed, bare = stream["streamed"], stream["bare"]
    return [
        Row(
            "(c) the three-process step against the local step",
            f"{shared / local:.2f}×",
            "at most 1.05×",
            shared / local <= 1.05 if device.type == "cpu" else None,
        ),
        Row("    with the attacker computing its own v", f"{own / local:.2f}×"),
        Row(
            "(d) batches a second, nobody attacking or defending",
            f"{1 / streamed:.0f}/s streamed, {1 / bare:.0f}/s in a bare loop: {bare / streamed:.2f} of it",
        ),
        _small_row(device, turns),
        _photos_row(device, max(1, turns // 2)),
    ]


def _photos_row(device: torch.device, turns: int) -> Row:
    """Return the row of batches of 100 photos, which have 20 MB before the attack and 79 MB after it."""
    specification = Specification.model_validate(
        {"dataset": _PHOTOS, "model": "auto", "defender": "level-1", "validation_size": 250}
        | {"batch_size": 100, "epochs": 1000, "epsilon": 3.0, "evaluate_every": 10_000}
    )
    split = split_dataset(photos_like(Source()), validation_size=250, train_size=None, seed=0)
    with Pipeline("level-1", "server", device) as pipeline:
        games = {
            "local": _local(specification, split, device),
            "http": pipeline.play(specification, split),
        }
        seconds = interleaved(games, device, turns)
    ratio = seconds["http"] / seconds["local"]
    return Row(
        "    the same step with 256×256 photos, 79 MB a batch",
        f"{ratio:.2f}×: {seconds['http']:.1f} s and {seconds['local']:.1f} s",
        "at most 1.2×",
        ratio <= 1.2 if device.type == "cpu" else None,
    )


def _small_row(device: torch.device, turns: int) -> Row:
    specification = Specification.model_validate({"dataset": "digits", "epochs": 10_000, "name": "digits"})
    split = load_split(specification, Source())
    # In the project folder, as run folders are: the temporary folder may be in memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-") as folder:
        plan = GamePlan(
            specification,
            attacker="none",
            attack_budget=specification.budget,
            transport="local",
            out=Path(folder),
            device=str(device),
            threads=torch.get_num_threads(),
        )
        epoch = specification.steps_per_epoch(len(split.train))
        with LocalPipeline(plan, lambda *_: None) as pipeline:
            steps, bare = pipeline.steps(), _bare_loop(specification, split, device)
            epochs: dict[str, Callable[[], object]] = {
                "local": lambda: [next(steps) for _ in range(epoch)],
                "bare": lambda: [bare() for _ in range(epoch)],
            }
            seconds = interleaved(epochs, device, 5 * turns)
    return Row(
        "    the same with digits, in one process",
        f"{1e3 * seconds['local'] / epoch:.1f} ms a step, {1e3 * seconds['bare'] / epoch:.1f} ms in a bare "
        f"loop: {seconds['bare'] / seconds['local']:.2f} of its batches a second",
        "at least 0.7",
        seconds["bare"] / seconds["local"] >= 0.7 if device.type == "cpu" else None,
    )


def _specification(defender: str) -> Specification:
    settings: dict[str, Any] = {"dataset": DATASET, "model": "mnist-cnn", "defender": defender}
    settings |= {"validation_size": 5_000, "batch_size": 500, "epochs": 1000, "epsilon": 3.0}
    return Specification.model_validate(settings | {"evaluate_every": 10_000})


def _local(specification: Specification, split: Split, device: torch.device) -> Callable[[], object]:
    run = TrainingRun(specification, split, device=device)
    settings = AttackSettings("level-1", specification.epsilon, device=device, allowed=None)
    attacker = AttackedRun(LocalGame(run), settings)
    batches = BatchSource(specification, split.train)
    rules = BatchRules(specification, len(split.train), run.input_shape, len(split.classes))

    def step() -> None:
        batch = attacker.attack(batches.batch(run.step))
        run.train(rules.check(batch, seq=run.step))

    return step


def _bare_loop(specification: Specification, split: Split, device: torch.device) -> Callable[[], object]:
    shape = tuple(split.train.inputs.shape[1:])
    model = build_model(specification.model, shape, len(split.classes)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=specification.learning_rate)
    batches, numbers = BatchSource(specification, split.train), count()

    def step() -> float:
        batch = batches.batch(next(numbers))
        inputs, labels = pixels(batch.inputs).to(device), batch.labels.to(device)
        loss = F.cross_entropy(model(inputs), labels, reduction="sum")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()

    return step


class Pipeline:
    """A training server and a proxy in child processes; this process is the data provider."""

    def __init__(self, attacker: str, gradient: str, device: torch.device) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._services = Services(Path(self._folder.name))
        self._arguments = ["--attacker", attacker, "--gradient", gradient, "--epsilon", "3"]
        self._process = [
            "--device",
            str(device),
            "--threads",
            str(torch.get_num_threads()),
            *("--allow", DATASET, "--allow", _PHOTOS),
        ]

    def __enter__(self) -> "Pipeline":
        server, proxy = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
        upstream, self._url = url_of(server), url_of(proxy)
        self._services.__enter__()
        out = ["--out", f"{self._folder.name}/runs"]
        self._services.start("server", "serve", *out, *self._process, listener=server)
        attack = ["--server", upstream, *self._arguments, "--out", f"{self._folder.name}/attacks"]
        self._services.start("proxy", "attack", *attack, *self._process, listener=proxy)
        return self

    def __exit__(self, *_: object) -> None:
        self._services.__exit__(None, None, None)
        self._folder.cleanup()

    def play(self, specification: Specification, split: Split) -> Callable[[], object]:
        """Return a function that plays one step: send, attack, defend, train on and acknowledge a batch."""
        client = Client(self._url)
        name = client.create_run(specification).name
        batches, numbers = BatchSource(specification, split.train), count()
        link = HttpLink(client, name, meanwhile=batches.prepare)
        return lambda: link.put(batches.batch(next(numbers)))
