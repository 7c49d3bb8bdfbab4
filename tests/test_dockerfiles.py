"""What can be said of the images without building them; tests/services/test_containers.py runs them."""

import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from midstream.command.main import cli

ROOT = Path(__file__).parent.parent
FILES = {
    "serve": ROOT / "server/Dockerfile",
    "attack": ROOT / "attacker_proxy/Dockerfile",
    "provide": ROOT / "data_provider/Dockerfile",
}


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile's instructions, in order, as (name, arguments)."""

    instructions: list[tuple[str, str]]

    @classmethod
    def read(cls, path: Path) -> "Dockerfile":
        text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
        parts = [line.split(maxsplit=1) for line in lines]
        return cls([(name, " ".join(arguments.split())) for name, arguments in parts])

    def all(self, name: str) -> list[str]:
        return [arguments for found, arguments in self.instructions if found == name]

    def last(self, name: str) -> str:
        return self.all(name)[-1]

    def environment(self) -> dict[str, str]:
        pairs = " ".join(self.all("ENV")).split()
        return dict(pair.split("=", 1) for pair in pairs)


@pytest.fixture(params=FILES)
def command(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def dockerfile(command: str) -> Dockerfile:
    return Dockerfile.read(FILES[command])


def test_it_runs_as_nobody_in_particular(dockerfile: Dockerfile) -> None:
    user, group = dockerfile.last("USER").split(":")
    assert int(user) > 0, "a number, so that an orchestrator can see that it is not root's"
    assert int(group) > 0
    setup = " ".join(dockerfile.all("RUN"))
    assert f"useradd --uid {user} --gid {group}" in setup
    names = [name for name, _ in dockerfile.instructions]
    assert "RUN" not in names[names.index("USER") :]
    assert {"HOME", "PYTHONDONTWRITEBYTECODE"} <= dockerfile.environment().keys()


def test_signals_reach_the_service(dockerfile: Dockerfile, command: str) -> None:
    assert json.loads(dockerfile.last("ENTRYPOINT")) == ["midstream"], "no shell between"
    assert json.loads(dockerfile.last("CMD")) == [command]


def test_what_it_sets_are_the_command_s_options(dockerfile: Dockerfile, command: str) -> None:
    found = cli.get_command(cli.make_context("midstream", [command]), command)
    assert found is not None
    known = {parameter.envvar for parameter in found.params}
    chosen = {name for name in dockerfile.environment() if name.startswith("MIDSTREAM_")}
    assert chosen
    assert chosen <= known


def test_nothing_opens_its_doors(dockerfile: Dockerfile) -> None:
    """A service in a container listens beyond loopback, so it must be told whom to let in."""
    words = " ".join(arguments for _, arguments in dockerfile.instructions).lower()
    assert "insecure" not in words
    assert "token" not in words


def test_it_names_no_host(command: str) -> None:
    text = FILES[command].read_text(encoding="utf-8")
    assert re.findall(r"\S*(?:://|\.(?:org|com|net|io|dev)\b)\S*", text) == []


def test_the_images_share_their_largest_layers() -> None:
    files = [Dockerfile.read(path).instructions for path in FILES.values()]
    common = [steps[0] for steps in zip(*files, strict=False) if len(set(steps)) == 1]
    for steps in files:
        assert steps[: len(common)] == common
    name, arguments = common[-1]
    assert name == "RUN"
    assert "pip install" in arguments, "torch is among what every image begins with"


def test_a_change_of_the_sources_installs_no_requirement_again(dockerfile: Dockerfile) -> None:
    names = [name for name, _ in dockerfile.instructions]
    copies = [number for number, name in enumerate(names) if name == "COPY"]
    assert dockerfile.instructions[copies[0]][1] == "pyproject.toml hatch_build.py ./"
    installs = [
        arguments
        for name, arguments in dockerfile.instructions[copies[1] :]
        if name == "RUN" and "pip" in arguments
    ]
    assert [("--no-deps" in arguments) for arguments in installs] == [True]
    first = dockerfile.all("RUN")[0]
    assert names.index("RUN") < copies[0], "and no change of pyproject.toml installs torch again"
    wanted = [text for text in project()["dependencies"] if text.startswith("torch")]
    assert shlex.split(first)[-1:] == wanted


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["project"]
    return found


def test_what_it_copies_is_sent_and_nothing_else_is(dockerfile: Dockerfile, command: str) -> None:
    copied = {arguments.split()[0] for arguments in dockerfile.all("COPY")}
    assert copied == {"pyproject.toml", "shared", FILES[command].parent.name}
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    assert copied <= {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert any(fnmatch.fnmatch("shared/midstream/__pycache__", rule) for rule in rules)


class _Answers(BaseHTTPRequestHandler):
    status = 200
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(code: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the port of a service whose answers have one status, and what it is asked."""
    asked: list[str] = []
    handler = type("Answers", (_Answers,), {"status": code, "asked": asked})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.process
@pytest.mark.parametrize("service", ["serve", "attack"])
def test_the_health_check_asks_whether_the_service_is_ready(service: str) -> None:
    check = Dockerfile.read(FILES[service]).last("HEALTHCHECK")
    program, *arguments = json.loads(check.partition("CMD ")[2])
    assert program == "python", "a slim image has no curl"

    def healthy(port: int) -> bool:
        environment = {**os.environ, "MIDSTREAM_PORT": str(port)}
        run = subprocess.run([sys.executable, *arguments], env=environment, stderr=subprocess.DEVNULL)
        return run.returncode == 0

    with answering(200) as (port, asked):
        assert healthy(port)
    assert asked == ["/health/ready"]
    assert not healthy(port), "nobody answers there any more"
    with answering(503) as (port, _):
        assert not healthy(port)
