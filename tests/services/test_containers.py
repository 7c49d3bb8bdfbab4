"""A whole game between three containers, each locked in as docs/containers.md says.

Tested where the images were built once; they are built again, of these sources, from what the engine kept.
"""

import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.waiting import LONGEST, until

pytestmark = [pytest.mark.process, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
IMAGES = {
    "midstream-server": "server/Dockerfile",
    "midstream-proxy": "attacker_proxy/Dockerfile",
    "midstream-provider": "data_provider/Dockerfile",
}
LOCKED_IN = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
GAME = [
    "--dataset=digits",
    "--run=game",
    "--batch-size=20",
    "--epochs=2",
    "--defender=level-1",
    "--threads=1",
]


def docker(*arguments: str, entered: str | None = None) -> str:
    """Run a docker command to its end, and return what it wrote on standard output."""
    run = subprocess.run(
        ["docker", *arguments], cwd=ROOT, input=entered, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"docker {' '.join(arguments)}: {run.stderr}"
    return run.stdout.strip()


@pytest.fixture(scope="module")
def images() -> None:
    """Build the images anew, or skip where there are none to begin with."""
    if shutil.which("docker") is None:
        pytest.skip("the containers are tested where there is a Docker engine")
    found = subprocess.run(["docker", "image", "inspect", *IMAGES], capture_output=True, check=False)
    if found.returncode != 0:
        pytest.skip("the containers are tested where their images were built once: docs/containers.md")
    for image, file in IMAGES.items():
        docker("build", "--quiet", "--file", file, "--tag", image, ".")


class Containers:
    """Three services, their volumes and their network, under names of their own."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._mark = f"midstream-test-{uuid.uuid4().hex[:8]}"
        self._network = self._made("network", "network")
        for volume in ("runs", "attacks", "server-secrets", "provider-secrets"):
            self._made("volume", volume)

    def name(self, what: str) -> str:
        return f"{self._mark}-{what}"

    def _made(self, kind: str, what: str) -> str:
        docker(kind, "create", self.name(what))
        self._stack.callback(docker, kind, "rm", self.name(what))
        return self.name(what)

    def volume(self, what: str, at: str) -> list[str]:
        return ["--volume", f"{self.name(what)}:{at}"]

    def once(self, image: str, *arguments: str, entered: str | None = None, options: list[str]) -> str:
        return docker("run", "--rm", "--interactive", *options, image, *arguments, entered=entered)

    def start(self, what: str, *arguments: str, options: list[str]) -> str:
        network = ["--network", self._network, "--network-alias", what]
        name = self.name(what)
        docker("create", "--name", name, *network, *LOCKED_IN, *options, f"midstream-{what}", *arguments)
        self._stack.callback(docker, "rm", "--force", "--volumes", name)
        docker("start", name)
        return name


@pytest.fixture
def containers(images: None) -> Iterator[Containers]:  # noqa: ARG001
    with ExitStack() as stack:
        yield Containers(stack)


def status(container: str, field: str) -> str:
    return docker("inspect", "--format", f"{{{{.State.{field}}}}}", container)


def steps(server: str) -> int:
    """Return how many steps are in the run's history, whether or not its server is up."""
    run = subprocess.run(
        ["docker", "exec", server, "cat", "/runs/game/metrics.jsonl"], capture_output=True, check=False
    )
    return run.stdout.count(b"\n")


def goes_on(server: str) -> None:
    before = steps(server)
    until(lambda: steps(server) > before + 5, "the game to go on")


def test_a_game_between_locked_in_containers_survives_kills(containers: Containers) -> None:
    secrets = containers.volume("server-secrets", "/secrets")
    containers.once("midstream-server", "tokens", "/secrets/tokens.yaml", options=secrets)
    grep = ["--entrypoint", "grep", *secrets]
    token = containers.once("midstream-server", "provider", "/secrets/tokens.yaml", options=grep)
    shell = ["--entrypoint", "sh", *containers.volume("provider-secrets", "/secrets")]
    keep = ("-c", "umask 077; cat > /secrets/provider.token")
    containers.once("midstream-provider", *keep, entered=token, options=shell)

    token_file = "/secrets/provider.token"
    read_only = containers.volume("provider-secrets", "/secrets:ro")
    server = containers.start(
        "server",
        *("serve", "--tokens", "/secrets/tokens.yaml", "--allow-host", "server", *GAME),
        options=[*containers.volume("runs", "/runs"), *containers.volume("server-secrets", "/secrets:ro")],
    )
    proxy = containers.start(
        "proxy",
        *("attack", "--server", "http://server:8000", "--tokens", token_file, "--threads", "1"),
        *("--allow-host", "proxy", "--attacker", "level-1,beta=0.9"),
        options=[*containers.volume("attacks", "/attacks"), *read_only],
    )
    until(lambda: status(proxy, "Health.Status") == "healthy", "the proxy, and the server behind it")
    provider = containers.start(
        "provider",
        *("provide", "--server", "http://proxy:8001", "--token-file", token_file),
        options=read_only,
    )

    for killed in (server, proxy, provider):
        goes_on(server)
        docker("kill", "--signal", "KILL", killed)
        docker("start", killed)
    assert docker("wait", provider) == "0", docker("logs", provider)
    until(lambda: has_result(server), "the run's result")
    result = json.loads(docker("exec", server, "cat", "/runs/game/result.json"))

    for service in (server, proxy):
        assert docker("exec", service, "id", "-u") == "10001"
        refused = subprocess.run(["docker", "exec", service, "touch", "/src/new"], capture_output=True)
        assert b"Read-only file system" in refused.stderr
        docker("stop", "--time", str(int(LONGEST)), service)
        assert status(service, "ExitCode") == "0"
        assert status(service, "OOMKilled") == "false"

    assert result["parameters_sha256"] == undisturbed(containers)


def has_result(server: str) -> bool:
    run = subprocess.run(["docker", "exec", server, "test", "-s", "/runs/game/result.json"], check=False)
    return run.returncode == 0


def undisturbed(containers: Containers) -> str:
    """Return the parameters of the same game in one process of the server's image."""
    others = ["--volume", f"{ROOT}/attacker_proxy:/attacker_proxy:ro"]
    path = ["--env", "PYTHONPATH=/attacker_proxy"]
    played = containers.once(
        "midstream-server",
        *("play", *GAME, "--transport", "local", "--attacker", "level-1,beta=0.9", "--json"),
        options=[*LOCKED_IN, *others, *path],
    )
    found: str = json.loads(played)["parameters_sha256"]
    return found


def test_without_tokens_a_container_says_what_it_needs(containers: Containers) -> None:
    for service in ("server", "proxy"):
        container = containers.start(service, options=[])
        assert docker("wait", container) == "2"
        run = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=False)
        assert "Give it --tokens FILE" in run.stderr
