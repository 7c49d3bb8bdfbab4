"""Whatever a person can mend is said in one sentence, with the nearest name, and without a traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest

from midstream.web.hosting import listen
from services.conftest import Ended
from services.loopback import unused_url

Midstream = Callable[..., Ended]


def sentence(ended: Ended) -> str:
    """Return what a command said was wrong, having checked that it was short and went to the right place."""
    assert ended.code in (1, 2)
    assert ended.out == ""
    assert "Traceback" not in ended.err
    lines = [line for line in ended.err.splitlines() if line and not line.startswith(("Usage: ", "Try "))]
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("Error: " if ended.code == 2 else "midstream: ")
    return lines[0]


REFUSALS: list[tuple[str, str]] = [
    ("plya", "'play'"),
    ("play --datset mnist", "--dataset"),
    ("play --epochs many", "'many'"),
    ("play --epochs 0", "--epochs"),
    ("play --epsilon -1", "--epsilon"),
    ("play --attack-epsilon -1", "--attack-epsilon"),
    ("play --attack-epsilon nan", "nan"),
    ("play --attack-norm linf", "--attack-epsilon"),
    ("play --lr 0", "--lr"),
    ("play --access grey-box", "'grey-box'"),
    ("play --surrogate logistic", "--access black-box"),
    ("play --surrogate-epochs 0 --access black-box", "--surrogate-epochs"),
    ("play --transport local --access black-box --surrogate logstic --cache .", "did you mean 'logistic'"),
    ("play --threads 0", "--threads"),
    ("play --norm l3", "'l3'"),
    ("play --run ../out", "--run"),
    ("play --attacker levl-1", "did you mean 'level-1'"),
    ("play --defender levl-1", "did you mean 'level-1'"),
    ("play --attacker level-1,bete=0.5", "'beta'"),
    ("play --attacker level-1,beta=much", "'much'"),
    ("play --attacker level-1,beta=0.5,beta=0.6", "sets beta twice; set it once"),
    ("play --run My_Run", "'My_Run' is not a valid name"),
    ("play --run My_Run", "'my_run' would be valid"),
    ("play --run=", "'' is not a valid name"),
    ("play --epsilon nan", "nan is not a finite number"),
    ("inspect http://[::1/v1/runs/x", "http://[::1/v1/runs/x is not the URL of a run"),
    ("inspect http://host:port/v1/runs/x", "is not the URL of a run"),
    ("play --attacker level-1,beta", "option=value"),
    ("play --attacker level-1,beta=2", "2"),
    ("play --attacker no.such.module:Attack", "'no'"),
    ("play --attacker midstream.players.interface:Nobody", "'Nobody'"),
    ("play --attacker attacks/none.py:Attack", "'attacks/none.py'"),
    ("play --transport local --dataset digts", "did you mean 'digits'"),
    ("play --transport local --dataset mnist", "--data-root"),
    ("play --transport local --dataset mnist --data-root nowhere", "nowhere"),
    ("play --transport local --dataset folder:nowhere", "nowhere"),
    ("play --transport local --train-size 5000", "5000"),
    ("play --transport local --model digits-cn", "did you mean 'digits-cnn'"),
    ("play --transport local --device gpu", "'gpu'"),
    ("play --transport local --out /dev/null/runs", "/dev/null"),
    ("play missing.yaml", "missing.yaml"),
    ("serve --port 0 --dataset mnits", "did you mean 'mnist'"),
    ("serve --port 0 --dataset digits --defender levl-1", "did you mean 'level-1'"),
    ("serve --port 0 --device gpu", "'gpu'"),
    ("serve --port 70000", "70000"),
    ("serve --host 0.0.0.0", "--insecure"),
    ("serve --host ::", "--insecure"),
    ("serve --host example.org", "--insecure"),
    ("serve --port 0 --tokens missing.yaml", "missing.yaml"),
    ("provide --token-file missing.token", "missing.token"),
    ("attack --host 192.0.2.1", "--insecure"),
    ("attack --epsilon -1", "--epsilon"),
    ("attack --attacker levl-1", "did you mean 'level-1'"),
    ("attack --server localhost:8000", "http://"),
    ("provide --server localhost:8000", "http://"),
    ("provide --server http://[::1", "http://"),
]


@pytest.mark.parametrize(("line", "mention"), REFUSALS)
def test_what_is_wrong_is_said_in_a_sentence(
    midstream: Midstream, line: str, mention: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert mention in sentence(midstream(*line.split()))


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("epochz: 3", "did you mean 'epochs'"),
        ("learning_rate: 0.1", "learning_rate"),
        ("epochs: many", "'many'"),
        ("- epochs", "name: value"),
        ("epochs: [", "line 1 nests values"),
        ('epochs: "3', "YAML"),
        ("attacker: levl-1", "did you mean 'level-1'"),
    ],
)
def test_a_scenario_that_cannot_be_read(
    midstream: Midstream, text: str, mention: str, tmp_path: Path
) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(text)
    assert mention in sentence(midstream("play", str(scenario)))


@pytest.mark.parametrize("command", ["serve", "attack"])
def test_a_port_that_is_taken(midstream: Midstream, command: str) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        said = sentence(midstream(command, "--port", port))
    assert f"127.0.0.1:{port}" in said
    assert "--port" in said


def test_a_wrong_setting_in_the_environment(midstream: Midstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDSTREAM_EPOCHS", "many")
    assert "'many'" in sentence(midstream("play"))


def test_a_provider_without_a_server(midstream: Midstream) -> None:
    with unused_url() as url:
        assert f"{url} has not answered" in sentence(
            midstream("provide", "--server", url, "--give-up-after", "0")
        )
