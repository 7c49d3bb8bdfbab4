"""Tokens: what a file must be like, whose a token is, and that none is ever shown."""

import stat
from pathlib import Path
from typing import Any

import pytest

from midstream.protocol.tokens import ROLES, Tokens, may, read_token, read_tokens, write_tokens

OBSERVER, PROVIDER, OPERATOR = "o" * 20, "p" * 20, "q" * 20


def kept(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_fresh_tokens_differ_and_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    write_tokens(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = dict(line.split(": ") for line in path.read_text().splitlines())
    assert tuple(written) == ROLES
    assert len({*written.values()}) == 3
    tokens = read_tokens(path, {})
    assert tokens is not None
    assert [tokens.role_of(token) for token in written.values()] == list(ROLES)


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    path = kept(tmp_path / "tokens.yaml", "mine")
    with pytest.raises(FileExistsError, match="name another"):
        write_tokens(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o660])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = kept(tmp_path / "tokens.yaml", f"operator: {OPERATOR}", mode)
    for read in (read_tokens, read_token):
        with pytest.raises(ValueError, match=f"chmod 600 {path}"):
            read(path, {})


FAULTS: dict[str, tuple[str, str]] = {
    "short": ("operator: secret-word", "at least 16"),
    "an unknown role": (f"admin: {OPERATOR}", "observer, provider, operator"),
    "a list": (f"- {OPERATOR}", "role: token"),
    "empty": ("", "role: token"),
    "no YAML": (f"operator: [{OPERATOR}", "role: token"),
    "a number": ("operator: 1234567890123456789", "quotes"),
    "a space": ("operator: 'secret-word secret-word'", "a header cannot"),
    "two the same": (f"observer: {OPERATOR}\noperator: {OPERATOR}", "its own"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_file_is_said_without_its_content(tmp_path: Path, fault: str) -> None:
    text, mention = FAULTS[fault]
    path = kept(tmp_path / "tokens.yaml", text)
    with pytest.raises(ValueError, match=mention) as raised:
        read_tokens(path, {})
    for secret in ("secret-word", OPERATOR, "1234567890"):
        assert secret not in str(raised.value)
    assert raised.value.__cause__ is None  # no parser's message, which would quote the file


def test_the_environment_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_tokens(None, {}) is None
    environment = {"MIDSTREAM_PROVIDER_TOKEN": PROVIDER, "MIDSTREAM_OPERATOR_TOKEN": OPERATOR}
    tokens = read_tokens(None, environment)
    assert tokens is not None
    assert (tokens.role_of(PROVIDER), tokens.role_of(OPERATOR)) == ("provider", "operator")
    filed = read_tokens(kept(tmp_path / "tokens", f"observer: {OBSERVER}"), environment)
    assert filed is not None
    assert filed.role_of(OPERATOR) is None


def test_a_clients_token(tmp_path: Path) -> None:
    assert read_token(None, {}) is None
    assert read_token(None, {"MIDSTREAM_TOKEN": PROVIDER}) == PROVIDER
    assert read_token(kept(tmp_path / "bare", f"{PROVIDER}\n"), {"MIDSTREAM_TOKEN": OPERATOR}) == PROVIDER
    assert read_token(kept(tmp_path / "line", f"provider: {PROVIDER}\n"), {}) == PROVIDER
    for text in ("short", f"provider: {PROVIDER}\noperator: {OPERATOR}\n", f"{PROVIDER}\n{OPERATOR}\n"):
        path = tmp_path / "wrong"
        path.unlink(missing_ok=True)
        with pytest.raises(ValueError, match="token") as raised:
            read_token(kept(path, text), {})
        assert PROVIDER not in str(raised.value)


def test_whose_a_token_is() -> None:
    tokens = Tokens({"operator": OPERATOR, "observer": OBSERVER})
    assert tokens.role_of(OBSERVER) == "observer"
    for other in ("", "x", OBSERVER[:-1], OBSERVER + "o", PROVIDER, "ö" * 20, "\udcff"):
        assert tokens.role_of(other) is None
    assert [[may(role, needed) for needed in ROLES] for role in ROLES] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_no_token_is_kept_in_the_clear() -> None:
    tokens = Tokens({"operator": OPERATOR})

    def inside(value: Any) -> str:
        return repr(value) + "".join(inside(item) for item in getattr(value, "__dict__", {}).values())

    assert OPERATOR not in inside(tokens)
