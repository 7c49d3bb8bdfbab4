"""The audit fails on a known vulnerability, and on nothing that a missing network does."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

_FILE = Path(__file__).parents[1] / ".ci/audit.py"
_SPEC = importlib.util.spec_from_file_location("audit", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
audit: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)

FINE = {"name": "click", "version": "8.2", "vulns": []}
UNKNOWN = {"name": "midstream", "skip_reason": "Dependency not found"}
FAULTY = {"name": "h11", "version": "0.9", "vulns": [{"id": "CVE-1", "fix_versions": ["0.16"]}]}


@pytest.mark.parametrize(
    ("packages", "code", "mention"),
    [
        ([FINE, UNKNOWN], 0, "0 known vulnerabilities in 1 of 2"),
        ([UNKNOWN, UNKNOWN], 0, "skipped: no network"),
        ([FINE, FAULTY], 1, "h11 0.9: CVE-1, mended in 0.16"),
    ],
)
def test_what_was_looked_up(packages: list[dict[str, Any]], code: int, mention: str) -> None:
    found = audit.verdict(json.dumps({"dependencies": packages}), "")
    assert found.code == code
    assert mention in found.text


def test_no_network() -> None:
    error = "requests.exceptions.ConnectionError: Max retries exceeded: Failed to resolve 'index.example'"
    found = audit.verdict("", error)
    assert (found.code, found.text) == (0, "skipped: no network")


@pytest.mark.parametrize("error", ["No module named pip_audit", ""])
def test_a_fault_of_its_own_is_no_missing_network(error: str) -> None:
    assert audit.verdict("", error).code == 1
