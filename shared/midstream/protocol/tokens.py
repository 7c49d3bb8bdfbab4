"""Bearer tokens: one for each role. A service stores only their digests."""

import re
import secrets
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Literal, get_args

import yaml

from midstream.storage.secret_files import read_secret, write_secret

Role = Literal["observer", "provider", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Roles in ascending order: read; send batches; start and control runs. Each includes those before it."""

_SHORTEST = 16
_LABEL = re.compile(rf"^({'|'.join(ROLES)}):\s*")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # the syntax of a bearer token (RFC 6750, 2.1)


class Tokens:
    """The tokens that one service accepts.

    >>> tokens = Tokens({"observer": "look-but-do-not-touch", "operator": "all-that-there-is"})
    >>> tokens.role_of("all-that-there-is"), tokens.role_of("guessed-at-random")
    ('operator', None)
    >>> tokens
    Tokens(observer, operator)

    Raises:
        ValueError: a token is too short or cannot be sent in a header, or two roles share one.
    """

    def __init__(self, tokens: Mapping[Role, str]) -> None:
        for role, token in tokens.items():
            _check(token, f"the {role}'s token")
        self._digests = {role: sha256(tokens[role].encode()).digest() for role in ROLES if role in tokens}
        self._further: list[tuple[Role, bytes]] = []
        if not self._digests:
            raise ValueError(f"no tokens are given; there is one for each of {', '.join(ROLES)}")
        if len(set(self._digests.values())) < len(self._digests):
            raise ValueError("two roles have the same token; each needs its own")

    def role_of(self, token: str) -> Role | None:
        """Return the role of a token, or None; comparison takes constant time."""
        given = sha256(token.encode("utf-8", "surrogateescape")).digest()
        found: Role | None = None
        for role, digest in (*self._digests.items(), *self._further):
            if compare_digest(given, digest):
                found = role
        return found

    def further(self, role: Role) -> str:
        """Accept another, new token for a role from now on, and return it.

        >>> tokens = Tokens({"operator": "all-that-there-is"})
        >>> tokens.role_of(tokens.further("provider"))
        'provider'
        """
        token = secrets.token_urlsafe(32)
        self._further.append((role, sha256(token.encode()).digest()))
        return token

    def __repr__(self) -> str:
        return f"Tokens({', '.join(self._digests)})"


def may(role: Role, needed: Role) -> bool:
    """Return whether a role includes another.

    >>> may("operator", "provider"), may("observer", "provider")
    (True, False)
    """
    return ROLES.index(role) >= ROLES.index(needed)


def read_tokens(path: Path | None, environment: Mapping[str, str]) -> Tokens | None:
    """Read a service's tokens from a YAML file, or else from `MIDSTREAM_<ROLE>_TOKEN`; None without any.

    Raises:
        ValueError: other users can access the file, or it holds no tokens; the message never shows a token.
        OSError: the file cannot be read.
    """
    if path is not None:
        return _of_file(path)
    names: dict[Role, str] = {role: f"MIDSTREAM_{role.upper()}_TOKEN" for role in ROLES}
    found = {role: environment[name] for role, name in names.items() if environment.get(name)}
    return Tokens(found) if found else None


def _of_file(path: Path) -> Tokens:
    content = read_secret(path)
    try:
        fields = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeError):
        fields = None  # the parser's message would quote the file
    if not isinstance(fields, dict) or not fields or not fields.keys() <= set(ROLES):
        raise ValueError(
            f"{path} must hold lines of the form 'role: token'; the roles are {', '.join(ROLES)}"
        )
    if not all(isinstance(token, str) for token in fields.values()):
        raise ValueError(f"{path} holds a token that YAML does not read as text; put it in quotes")
    try:
        return Tokens(fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_token(path: Path | None, environment: Mapping[str, str]) -> str | None:
    """Read a client's token from a file, or else from `MIDSTREAM_TOKEN`; None without either.

    The file holds the token, or one line of the server's token file: `grep provider tokens.yaml` makes one.

    Raises:
        ValueError: other users can access the file, or the token is too short or cannot be sent in a header.
        OSError: the file cannot be read.
    """
    if path is None:
        token, where = environment.get("MIDSTREAM_TOKEN", ""), "MIDSTREAM_TOKEN"
        if not token:
            return None
    else:
        token, where = read_secret(path).decode("utf-8", "replace").strip(), str(path)
        token = _LABEL.sub("", token)
    _check(token, f"the token of {where}")
    return token


def write_tokens(path: Path) -> None:
    """Write new tokens for every role to a new file that only its owner can read.

    Raises:
        FileExistsError: the file exists.
    """
    lines = [f"{role}: {secrets.token_urlsafe(32)}\n" for role in ROLES]
    write_secret(path, "".join(lines).encode())


def _check(token: str, whose: str) -> None:
    if len(token) < _SHORTEST:
        raise ValueError(f"{whose} has {len(token)} characters; it needs at least {_SHORTEST}")
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{whose} holds a character that a header cannot; use letters, digits and -._~+/")
