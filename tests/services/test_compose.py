"""Every profile of docker-compose.yml, played to its end on a Docker engine: `make compose-test`."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose_file import PROFILES

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(
        "COMPOSE_TEST" not in os.environ, reason="half an hour of containers: make compose-test"
    ),
]

ROOT = Path(__file__).parents[2]
# Test accuracy, from and to.
ENDS = {
    "clean": (0.95, 1.0),
    "attacked": (0.0, 0.7),
    "defended": (0.9, 1.0),
    "level-2": (0.8, 1.0),
    "black-box": (0.9, 1.0),
    "targeted": (0.0, 0.95),
    "custom": (0.0, 0.5),
}


class Compose:
    """Compose, of either version, under a project's name of its own; the system picks its port."""

    def __init__(self) -> None:
        self._command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        self._project = f"midstream-test-{uuid.uuid4().hex[:8]}"

    def __call__(self, profile: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, "--project-name", self._project, "--profile", profile, *words],
            cwd=ROOT,
            env={**os.environ, "PORT": "0"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def compose() -> Iterator[Compose]:
    made = Compose()
    yield made
    for profile in PROFILES:
        made(profile, "down", "--volumes")


def said(compose: Compose, profile: str) -> list[str]:
    """Return what a profile's provider wrote; `up` shows the same, its services' lines in any order."""
    output = compose(profile, "logs", "--no-color", f"provider-{profile}").stdout
    parts = (line.partition("|") for line in output.splitlines())
    return [text.strip() for name, _, text in parts if name.startswith(f"provider-{profile}")]


@pytest.mark.parametrize("profile", ENDS)
def test_a_game_ends_with_its_result_as_the_last_line(compose: Compose, profile: str) -> None:
    built = compose(profile, "build")
    assert built.returncode == 0, built.stderr
    played = compose(profile, "up", "--no-color", "--exit-code-from", f"provider-{profile}")
    assert played.returncode == 0, played.stdout + played.stderr
    lines = said(compose, profile)
    headings, figures = lines[-2:]
    assert headings.startswith("run "), lines[-4:]
    result = figures.split()
    assert result[:2] == [profile, "digits"]
    lowest, highest = ENDS[profile]
    assert lowest <= float(result[4]) <= highest, figures
    print(f"{headings}\n{figures}")


def test_where_the_provider_signs_the_man_in_the_middle_is_stopped(compose: Compose) -> None:
    compose("signed", "build")
    played = compose("signed", "up", "--no-color", "--exit-code-from", "provider-signed")
    assert played.returncode == 1, played.stdout + played.stderr
    assert "signature does not fit" in said(compose, "signed")[-1]
