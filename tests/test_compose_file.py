"""docker-compose.yml: a profile for each scenario, every container locked in, the same games as `play`'s."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from compose_file import PROFILES, ROOT, SERVICES

from midstream.command.main import cli

DOCKERFILES = {"server": "server", "proxy": "attacker_proxy", "provider": "data_provider", "tokens": "server"}
# Where a container keeps what `play` finds on the machine, or makes for each game.
_OF_CONTAINERS = {"MIDSTREAM_RUN", "MIDSTREAM_CACHE", "MIDSTREAM_REQUIRE_SIGNATURE"}


def scenario(profile: str) -> dict[str, Any]:
    path = ROOT / f"scenarios/digits-{profile}.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_locked_in(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user"} & service.keys()
    assert service["build"]["dockerfile"] == f"{DOCKERFILES[name.partition('-')[0]]}/Dockerfile"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    written = [*service["command"], *service.get("environment", {})]
    assert not any("insecure" in word.lower() for word in written)
    if not name.startswith("tokens"):
        assert any("token" in word and "/secrets/" in word for word in service["command"])


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_three_services_that_start_when_the_one_behind_them_is_healthy(profile: str) -> None:
    names = {name for name, service in SERVICES.items() if profile in service["profiles"]}
    assert names == {"tokens", f"server-{profile}", f"proxy-{profile}", f"provider-{profile}"}
    waits = {name: list(SERVICES[name].get("depends_on", {})) for name in names}
    assert waits == {
        "tokens": [],
        f"server-{profile}": ["tokens"],
        f"proxy-{profile}": [f"server-{profile}"],
        f"provider-{profile}": [f"proxy-{profile}"],
    }
    conditions = [dict(wait) for name in names for wait in SERVICES[name].get("depends_on", {}).values()]
    assert conditions == [{"condition": "service_healthy"}] * 3
    assert SERVICES[f"proxy-{profile}"]["environment"]["MIDSTREAM_SERVER"] == f"http://server-{profile}:8000"
    assert (
        SERVICES[f"provider-{profile}"]["environment"]["MIDSTREAM_SERVER"] == f"http://proxy-{profile}:8001"
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_it_plays_the_scenario_of_its_name(profile: str) -> None:
    environment = dict(SERVICES[f"server-{profile}"]["environment"])
    assert environment["MIDSTREAM_RUN"] == profile
    proxy = dict(SERVICES[f"proxy-{profile}"]["environment"])
    del proxy["MIDSTREAM_SERVER"]
    # Each is reached under its service's name.
    assert environment.pop("MIDSTREAM_ALLOW_HOST") == f"server-{profile}"
    assert proxy.pop("MIDSTREAM_ALLOW_HOST") == f"proxy-{profile}"
    assert proxy == environment
    settings = {
        name.removeprefix("MIDSTREAM_").lower(): value
        for name, value in environment.items()
        if name not in _OF_CONTAINERS
    }
    expected = {key: value for key, value in scenario(profile).items() if key != "signed"}
    expected["attacker"] = expected["attacker"].replace("examples/", "/examples/")
    assert settings == expected
    signed = scenario(profile).get("signed") == "provider"
    assert ("MIDSTREAM_REQUIRE_SIGNATURE" in environment) == signed
    assert ("MIDSTREAM_SIGN_KEY" in SERVICES[f"provider-{profile}"]["environment"]) == signed


def test_the_man_in_the_middle_cannot_read_the_key() -> None:
    holders = [
        name
        for name, service in SERVICES.items()
        if any(volume.split(":")[0] in ("signature", "server-secrets") for volume in service["volumes"])
    ]
    assert [name for name in holders if name.startswith("proxy")] == []
    assert "provider-signed" in holders


@pytest.mark.parametrize("path", sorted(ROOT.glob("scenarios/*.yaml")), ids=lambda path: str(path.stem))
def test_play_understands_every_scenario(path: Path) -> None:
    shown = CliRunner().invoke(cli, ["play", str(path), "--show-config"])
    assert shown.exit_code == 0, shown.output
    assert f'attacker = "{yaml.safe_load(path.read_text())["attacker"]}"  (scenario file)' in shown.output


@pytest.mark.process
def test_compose_itself_understands_it() -> None:
    compose = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if (
        shutil.which(compose[0]) is None
        or subprocess.run([*compose, "version"], capture_output=True).returncode
    ):
        pytest.skip("the file is checked where there is Compose, of either version; no engine is needed")
    profiles = [word for profile in PROFILES for word in ("--profile", profile)]
    checked = subprocess.run(
        [*compose, *profiles, "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_published_images_are_named_by_two_variables() -> None:
    built = {service["image"] for service in SERVICES.values() if "with-data" not in service["image"]}
    assert built == {
        f"${{IMAGES:-midstream}}-{name}:${{TAG:-latest}}" for name in ("server", "proxy", "provider")
    }
