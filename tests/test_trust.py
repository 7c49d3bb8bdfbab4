"""What a stranger may name, and what is told to strangers, as SECURITY.md says."""

import inspect
from pathlib import Path
from typing import get_type_hints

import pytest

from midstream import plugins
from midstream.command.runs.inspection import track
from midstream.command.runs.played import PlayedRun
from midstream.plugins import Kind
from midstream.protocol.announcement import announced, announcement
from midstream.protocol.specification import Specification
from midstream.run.augmentation import Augmentation
from midstream.run.optimizing.optimizers import OPTIMIZERS, SCHEDULES


def test_no_option_that_a_specification_may_set_names_a_file() -> None:
    kinds: tuple[Kind, ...] = ("models", "defenders", "checkers")
    made = [plugins.find(kind, name) for kind in kinds for name in plugins.names(kind)]
    for factory in (*made, *OPTIMIZERS.values(), *SCHEDULES.values()):
        hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
        options = [hints[name] for name in inspect.signature(factory).parameters if name in hints]
        assert not [hint for hint in options if hint in (str, Path, str | None, Path | None)], factory


@pytest.mark.parametrize(
    "text", ["path=" + "/é" * 5000, "level-1\r\nX-Other: 1", "\u202elevel-1\x1b[2J", "a" * 199 + " ε 1.5"]
)
def test_an_announcement_is_short_and_printable(text: str) -> None:
    header = announcement(text)
    assert len(header) <= 2400  # a head of 16 KiB is refused
    assert header.isascii()
    assert header.isprintable()
    assert header == header.strip()  # a header that ends in a space is refused before it is sent
    shown = announced(header)
    assert shown is not None
    assert len(shown) <= 200
    assert shown.isprintable()


def test_a_password_in_the_address_of_a_store_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    track({}, tensorboard=None, wandb=None, mlflow="https://ann:secret@host/mlflow")
    assert capsys.readouterr().err == "mlflow: https://…@host/mlflow\n"


def test_the_name_of_somebody_elses_run_leads_to_no_other_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    monkeypatch.setattr("midstream.command.runs.tensorboard.write_events", lambda to, _: written.append(to))
    run = PlayedRun("runs/one", "finished", {}, [], None, None, None)
    track(dict.fromkeys(["..", "../../one", "/one"], run), tensorboard=tmp_path, wandb=None, mlflow=None)
    assert len(written) == 3
    assert all(path.resolve().is_relative_to(tmp_path.resolve()) for path in written)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("defenders", "ueraser,repeats=0", "repeats must be at least 1, not 0"),
        ("defenders", "avatar,jumps=-4", "jumps must be at least 1, not -4"),
        ("attackers", "rem,attack_steps=0", "attack_steps must be at least 1, not 0"),
        ("attackers", "tap,surrogate_epochs=0", "surrogate_epochs must be at least 1, not 0"),
        ("attackers", "em,train_steps=0", "train_steps must be at least 1, not 0"),
        ("checkers", "reconstruction,batch_size=0", "batch_size must be at least 1, not 0"),
        ("checkers", "loss-trajectory,k=0", "at least 1, not 4, 20 and 0"),
        ("models", "resnet18,width=0", "width must be at least 1, not 0"),
    ],
)
def test_a_refusal_names_the_option_and_its_value(kind: Kind, text: str, words: str) -> None:
    given = [(3, 32, 32), 10] if kind == "models" else []
    with pytest.raises(ValueError, match=words):
        plugins.configured(kind, text, given=len(given))(*given)


def test_a_crop_has_a_margin_that_exists() -> None:
    for padding in (-3, 9):
        cropped = Specification.model_validate({"augment": f"crop,padding={padding}"})
        with pytest.raises(plugins.PluginError, match=f"from 0 to the image's 8 pixels, not {padding}"):
            Augmentation(cropped, (1, 8, 8))
