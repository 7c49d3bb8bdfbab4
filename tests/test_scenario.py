"""A scenario file gives its settings as flags would, or a sentence that says where it is none."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from midstream.command.main import cli
from midstream.console.scenario import MOST, ScenarioError, read_settings, read_values


def scenario(folder: Path, content: str | bytes) -> Path:
    path = folder / "scenario.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def play(path: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["play", str(path), *words])


def laughs(levels: int) -> str:
    """Return a file of a few lines that aliases make 9 to the power of `levels` words of."""
    lines = ["attacker: &a0 [ha, ha, ha]"]
    lines += [f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"defender: [*a{levels - 1}]"])


def laughs_in_one_setting(levels: int) -> str:
    """Return the same within the value of a setting, which would take for ever to write out."""
    lists = ["&a0 [ha, ha, ha]"]
    lists += [f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return f"attacker: [{', '.join(lists)}]"


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "laughs": (laughs(30), "line 1 has the anchor or alias 'a0'; write the value itself"),
    "laughs-in-one-setting": (laughs_in_one_setting(30), "line 1 nests values"),
    "alias": ("attacker: &x none\ndefender: *x", "line 1 has the anchor or alias 'x'"),
    "unknown-alias": ("defender: *x", "line 1 has the anchor or alias 'x'"),
    "deep": (f"epsilon: {'[' * 20_000}{']' * 20_000}", "line 1 nests values; a setting has a single value"),
    "deep-from-the-start": ("[" * 20_000, "it must hold settings as 'name: value', one per line"),
    "nested": ("epsilon: 1\nattacker: {name: level-1}", "line 2 nests values"),
    "nested-key": ("? [a, b]\n: 1", "line 1 nests values"),
    "list": ("- epsilon\n- 3", "it must hold settings as 'name: value', one per line"),
    "word": ("epsilon", "it must hold settings as 'name: value', one per line"),
    "binary": (bytes(range(256)), "byte 128 is 0x80, which is not UTF-8 text"),
    "zeros": (bytes(100), "is not YAML: unacceptable character #x0000"),
    "twice": ("epsilon: 1\nlr: 2\nepsilon: 3", "line 3 sets epsilon again; line 1 already sets it"),
    "two-documents": ("epsilon: 1\n---\nlr: 2", "a second document begins at line 3"),
    "tag": ("epsilon: !!python/object/apply:os.system [ls]", "line 1 has the tag"),
    "large": (f"attacker: {'x' * MOST}", "it is larger than 64 KiB"),
    "broken": ("epsilon: [1", "line 1 nests values"),
    "unfinished": ('epsilon: "1', "is not YAML: while scanning a quoted scalar"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_scenario_is_refused_by_line(name: str, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    path = scenario(tmp_path, content)
    ended = play(path)
    assert ended.exit_code == 2
    assert str(path) in ended.output
    assert words in ended.output
    for read in (read_settings, read_values):
        with pytest.raises(ScenarioError):
            read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("epochs: 1.5", "'1.5' is not a valid integer"),
        ("epochs: true", "'true' is not a valid integer"),
        ("epsilon: .nan", "'--epsilon': '.nan' is not a valid float"),
        ("epsilon: nan", "'--epsilon': nan is not a finite number"),
        ("download: perhaps", "'perhaps' is not a valid boolean"),
        ("transport: no", "'no' is not one of"),
        ("epsilom: 1", "sets epsilom, but this command has no such option; did you mean 'epsilon'?"),
        ("1: 2", "sets 1, but this command has no such option"),
    ],
)
def test_a_value_is_taken_as_its_flag_takes_it(content: str, words: str, tmp_path: Path) -> None:
    ended = play(scenario(tmp_path, content))
    assert ended.exit_code == 2
    assert words in ended.output


def test_a_value_arrives_and_a_null_sets_nothing(tmp_path: Path) -> None:
    path = scenario(
        tmp_path, "# mine\nepsilon: 2.5\nattacker: 'none'\ndefender: null\nseed:\ndownload: true\n"
    )
    shown = play(path, "--show-config")
    assert shown.exit_code == 0, shown.output
    found = dict(line.split(" = ", 1) for line in shown.output.splitlines())
    assert found["epsilon"] == "2.5  (scenario file)"
    assert found["attacker"] == '"none"  (scenario file)'
    assert found["defender"] == '"none"  (default)'
    assert found["seed"] == "0  (default)"
    assert found["download"] == "true  (scenario file)"
    assert read_values(path) == {"epsilon": 2.5, "attacker": "none", "download": True}


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "---\n", "~"])
def test_an_empty_file_sets_nothing(content: str, tmp_path: Path) -> None:
    assert read_settings(scenario(tmp_path, content)) == {}
    assert play(tmp_path / "scenario.yaml", "--show-config").exit_code == 0
