"""The attacker proxy in Node.js, written against the protocol page: `examples/node-proxy`."""

import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import httpx
import pytest
import torch

from midstream import Budget, level_1_attack, pixels
from midstream.mathematics.derivatives.gradients import validation_gradient
from midstream.protocol.tokens import ROLES, Role, Tokens
from midstream.run.models import build_model
from midstream.web.hosting import Guard
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.commands import Program
from services.foreign_proxies import (
    DIGITS,
    EPSILON,
    check_a_real_game,
    check_a_repeated_batch_goes_on_as_the_same_bytes,
    check_each_batch_is_moved_within_the_budget,
    check_no_answer_is_502,
    check_out_of_order_batches_are_told_the_next,
    check_the_rest_passes_untouched,
    check_what_is_no_batch_of_the_run_goes_no_further,
    middle,
    port_of,
    skip_without_network,
    until_it_listens,
)
from services.loopback import served, unused_url
from services.tiny import TinyRun, problem

pytestmark = pytest.mark.process

EXAMPLE = Path(__file__).parents[2] / "examples" / "node-proxy"
TOKENS: dict[Role, str] = {role: f"{role}-with-a-secret" for role in ROLES}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the example with what it depends on."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"the proxy in Node.js is tested where there is {' and '.join(missing)}")
    folder = tmp_path_factory.mktemp("node") / "node-proxy"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "memory"))
    npm = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--fetch-retries=0"]
    done = subprocess.run(npm, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        skip_without_network(done.stderr, "@msgpack/msgpack")
    assert done.returncode == 0, done.stderr
    return folder


def start(installed: Path, folder: Path, server: str, port: int) -> Program:
    script = str(installed / "proxy.js")
    return Program(folder, "node", script, "--server", server, "--port", str(port), name="node")


def test_each_batch_is_moved_by_level_1_at_the_live_parameters(
    registry: Registry, installed: Path, tmp_path: Path
) -> None:
    model = build_model("logistic", (1, 8, 8), 10)
    with middle(registry, partial(start, installed), tmp_path, model="logistic") as between:
        before = between.run.parameters()
        first = check_each_batch_is_moved_within_the_budget(between)[0]
        reports = [record["attacker"] for record in between.run.until_recorded(tiny.STEPS)]
    model.load_state_dict(before)
    clean, validation = tiny.batch(0), tiny.split().validation
    inputs = pixels(clean.inputs)
    v = validation_gradient(model, pixels(validation.inputs), validation.labels)
    move = level_1_attack(model, inputs, clean.labels, validation_gradient=v, budget=Budget(EPSILON))
    expected = Budget(EPSILON).perturb(inputs, move)
    torch.testing.assert_close(first.inputs, expected, rtol=0, atol=1e-6)
    assert first.parameters_version == 0
    largest = (expected - inputs).flatten(1).norm(dim=1).max().item()
    assert reports[0]["largest_move"] == pytest.approx(largest, abs=1e-5)


def test_integer_pixels_and_the_largest_norm(registry: Registry, installed: Path, tmp_path: Path) -> None:
    settings = {"model": "logistic", "norm": "linf", "epsilon": 0.1}
    with middle(registry, partial(start, installed), tmp_path, **settings) as between:
        between.run.play(0, 1)
        record = between.run.until_recorded(1)[0]
    assert 0.1 < record["attacker"]["largest_move"] <= 0.1 * 8 + 1e-6


@pytest.mark.parametrize(
    "check",
    [
        check_a_repeated_batch_goes_on_as_the_same_bytes,
        check_out_of_order_batches_are_told_the_next,
        check_what_is_no_batch_of_the_run_goes_no_further,
        check_the_rest_passes_untouched,
    ],
)
def test_it_is_a_man_in_the_middle(check, registry: Registry, installed: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with middle(registry, partial(start, installed), tmp_path, model="logistic") as between:
        check(between)


def test_a_run_that_it_cannot_attack_is_not_fed(registry: Registry, installed: Path, tmp_path: Path) -> None:
    with middle(registry, partial(start, installed), tmp_path) as between:
        assert "digits-cnn" in problem(between.run.put(0), 501)["detail"]
        hidden = TinyRun(between.run.client, name="hidden", model="logistic", access="black-box")
        assert "'hidden' does not publish" in problem(hidden.put(0), 403)["detail"]
        assert between.arrived.batches == []


def test_where_nobody_is_behind_it_it_says_so(installed: Path, tmp_path: Path) -> None:
    check_no_answer_is_502(partial(start, installed), tmp_path)


def test_it_has_no_token_of_its_own(registry: Registry, installed: Path, tmp_path: Path) -> None:
    shown = {role: {"Authorization": f"Bearer {token}"} for role, token in TOKENS.items()}
    with (
        served(make_app(registry), guard=Guard(Tokens(TOKENS))) as upstream,
        unused_url() as url,
        start(installed, tmp_path, upstream, port_of(url)) as program,
        httpx.Client(base_url=url, headers=shown["operator"], trust_env=False, timeout=60) as client,
    ):
        until_it_listens(client, program)
        run = TinyRun(client, model="logistic")
        client.headers = httpx.Headers()
        stranger = run.put(0)
        problem(stranger, 401)
        assert stranger.headers["WWW-Authenticate"].startswith("Bearer")
        client.headers = httpx.Headers(shown["observer"])
        assert problem(run.put(0), 403)["needed"] == "provider"
        assert not (tmp_path / "memory").exists()
        client.headers = httpx.Headers(shown["provider"])
        run.play(0, 1)


def test_told_to_stop_it_stops(registry: Registry, installed: Path, tmp_path: Path) -> None:
    with (
        served(make_app(registry)) as upstream,
        unused_url() as url,
        start(installed, tmp_path, upstream, port_of(url)) as program,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        until_it_listens(client, program)
        assert program.end(signal.SIGTERM) == 0


def test_a_real_game_loses_accuracy_and_nothing_else(
    registry: Registry, installed: Path, tmp_path: Path
) -> None:
    check_a_real_game(registry, partial(start, installed), tmp_path, lost=0.25, **DIGITS)
