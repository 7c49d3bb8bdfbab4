"""Holds the installed packages against the known vulnerabilities; says so where it cannot.

Fails on a known vulnerability alone: a machine without a network can still run the tests.
"""

import json
import subprocess
import sys
from dataclasses import dataclass

_COMMAND = [
    sys.executable,
    "-m",
    "pip_audit",
    "--format",
    "json",
    "--progress-spinner",
    "off",
    "--timeout",
    "15",
]
_NO_NETWORK = ("connect", "resolve", "timed out", "unreachable", "proxy", "network")


@dataclass(frozen=True)
class Verdict:
    """What came of an audit: the exit code, and what to tell."""

    code: int
    text: str


def verdict(out: str, err: str) -> Verdict:
    """Judge what pip-audit wrote on its two outputs."""
    try:
        packages = json.loads(out)["dependencies"]
    except (ValueError, LookupError, TypeError):
        if any(word in err.lower() for word in _NO_NETWORK):
            return Verdict(0, "skipped: no network")
        return Verdict(1, f"pip-audit failed: {err.strip() or out.strip() or 'it said nothing'}")
    looked_up = [package for package in packages if "skip_reason" not in package]
    if not looked_up:
        return Verdict(0, f"skipped: no network that knows one of the {len(packages)} packages")
    known = [
        f"{package['name']} {package['version']}: {fault['id']}, "
        f"mended in {', '.join(fault['fix_versions']) or 'no version'}"
        for package in looked_up
        for fault in package["vulns"]
    ]
    heading = f"{len(known)} known vulnerabilities in {len(looked_up)} of {len(packages)} packages looked up"
    return Verdict(1 if known else 0, "\n  ".join([heading, *known]))


def main() -> None:
    """Run pip-audit, and end as it found."""
    try:
        audit = subprocess.run(_COMMAND, capture_output=True, text=True, timeout=300)
        found = verdict(audit.stdout, audit.stderr)
    except subprocess.TimeoutExpired:
        found = Verdict(0, "skipped: no network that answers within five minutes")
    print(f"audit: {found.text}")
    sys.exit(found.code)


if __name__ == "__main__":
    main()
