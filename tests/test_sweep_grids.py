"""Grids, and the trials of their product."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from midstream.command import play
from midstream.command.sweep import sweeping
from midstream.command.sweep.axes import OF_THE_MACHINE, Axes, GridError, axes_of_play
from midstream.command.sweep.grid import trials_of
from midstream.command.sweep.grid_file import read_grids
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.protocol.specification import Specification

BRIGHTER = """
import torch

class Brighter:
    def perturb(self, batch, view):
        return torch.ones_like(batch.inputs)
"""


def one(**settings: str | float) -> Trial:
    (trial,) = trials_of([settings])
    return trial


def test_the_settings_are_those_that_a_trial_is_named_after() -> None:
    settings = {str(option.name) for option in axes_of_play().values()}
    attack = {"attacker", "attack_epsilon", "attack_norm", "gradient", "signed", "precision"}
    surrogate = {"surrogate", "surrogate_epochs", "surrogate_train_size", "surrogate_seed"}
    assert settings == {*Specification.model_fields} - {"name"} | attack | surrogate
    assert {*OF_THE_MACHINE} <= {str(parameter.name) for parameter in play.command.params}


def test_a_grid_is_the_product_of_its_settings() -> None:
    trials = trials_of([{"attacker": ["none", "level-1"], "epsilon": [1, 2.5], "seeds": 3}])
    found = [(t.attacker, t.specification.epsilon, t.specification.seed) for t in trials]
    assert found == [(a, e, s) for a in ("none", "level-1") for e in (1.0, 2.5) for s in range(3)]
    assert len({trial.name for trial in trials}) == 12


def test_a_trial_is_the_game_that_play_plays() -> None:
    trial = one(dataset="mnist", attacker="conversion,target=3", attack_epsilon=2, lr=0.01, seed=4)
    run = trial.specification
    assert (run.model, run.epsilon, run.learning_rate, run.target) == ("mnist-cnn", 3.0, 0.01, 3)
    assert (trial.attack_budget.epsilon, trial.attack_budget.norm) == (2.0, "l2")
    assert trial.plan(Place(Path("results"))).folder == Path("results") / trial.name


def test_a_name_is_the_digest_of_canonical_json() -> None:
    trial = one(attacker="level-1", epochs=3)
    text = json.dumps(trial.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert trial.name == sha256(text.encode()).hexdigest()[:16]
    assert Trial.of(json.loads(text)) == trial


def test_a_name_stays_the_same() -> None:
    """Results of earlier versions are found again."""
    assert one(attacker="level-1", defender="level-1", epochs=3).name == "5472b63a48781cec"


def test_defaults_and_other_ways_to_write_a_value_change_no_name() -> None:
    plain = one(attacker="level-1")
    assert one(epsilon=1.5, seed="0", attack_epsilon="1.50", optimizer="adam").name == plain.name
    assert one(access="black-box").name != plain.name
    assert one(**{"attack-epsilon": 1}).name != plain.name


def test_precision_is_part_of_a_trial() -> None:
    trial = one(precision="bfloat16")
    assert trial.name != one().name
    assert Trial.of(trial.document()) == trial
    assert trial.plan(Place(Path("results"))).precision == "bfloat16"


def test_black_box_trials_have_the_settings_of_their_surrogate() -> None:
    trial = one(access="black-box", surrogate_epochs=2)
    assert trial.settings["surrogate_epochs"] == 2
    assert Trial.of(trial.document()) == trial
    with pytest.raises(GridError, match="for black-box runs"):
        one(surrogate_epochs=2)


def test_an_edited_plug_in_is_a_different_trial(tmp_path: Path) -> None:
    file = tmp_path / "brighter.py"
    file.write_text(BRIGHTER)
    before = one(attacker=f"{file}:Brighter")
    file.write_text(BRIGHTER + "# edited\n")
    after = one(attacker=f"{file}:Brighter")
    assert before.name != after.name
    assert before.settings["sources"] != after.settings["sources"]


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        ({"atacker": "none"}, "did you mean 'attacker'"),
        ({"device": ["cpu"]}, "no setting called 'device'"),
        ({"epsilon": [1, -1]}, "--epsilon: .*not -1.0"),
        ({"attack-epsilon": -1}, "--attack-epsilon.*-1.0 is not a radius"),
        ({"epochs": "many"}, "'--epochs': 'many' is not a valid integer"),
        ({"epochs": True}, "epochs has the value True"),
        ({"epochs": []}, "epochs has no values"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": [1, 2]}, "give the number of seeds"),
        ({"seeds": 2, "seed": 1}, "both seed and seeds"),
        ({"attack-norm": "linf"}, "needs an --attack-epsilon"),
    ],
)
def test_a_wrong_grid_is_refused(grid: Axes, reason: str) -> None:
    with pytest.raises(GridError, match=reason):
        trials_of([grid])


def test_a_file_holds_grids(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(
        "attacker: [none, level-1]\nepsilon: 1.50\ntarget: [null, 3]\n---\nattacker: none\nseeds: 2\n"
    )
    grids = read_grids(file)
    assert grids == [
        {"attacker": ["none", "level-1"], "epsilon": ["1.50"], "target": [None, "3"]},
        {"attacker": ["none"], "seeds": ["2"]},
    ]
    trials = trials_of(grids)
    assert [(t.attacker, t.specification.target, t.specification.seed) for t in trials] == [
        ("none", None, 0),
        ("none", 3, 0),
        ("level-1", None, 0),
        ("level-1", 3, 0),
        ("none", None, 1),  # the first of the second grid is the first of all
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- none", "must hold settings"),
        ("epochs: 1\nepochs: 2", "line 2 sets epochs again"),
        ("epochs: [[1]]", "line 1 nests values"),
        ("epochs: {a: 1}", "line 1 nests values"),
        ("epochs: [1", "is not YAML"),
        ("a: 1" * 20_000, "larger than 64 KiB"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(text)
    with pytest.raises(GridError, match=reason):
        read_grids(file)


def test_the_data_root_of_the_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Place] = []

    def play(_: object, place: Place, **__: object) -> None:
        places.append(place)

    monkeypatch.setattr(sweeping, "play_trials", play)
    monkeypatch.setenv("MIDSTREAM_DATA_ROOT", "/data")
    sweeping.sweep({"seeds": 1}, out=tmp_path)
    sweeping.sweep({"seeds": 1}, out=tmp_path, data_root=Path("/other"))
    assert [place.data_root for place in places] == [Path("/data"), Path("/other")]
