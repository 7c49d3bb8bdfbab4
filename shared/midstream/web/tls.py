"""Encrypted connections: what a service shows, and what a client asks to see."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

Verify = ssl.SSLContext | bool
"""How a client verifies: against authorities of its own, or (True) the public ones. There is no other way."""


def trusting(ca: Path | None) -> Verify:
    """Return how to verify a server: against one's own authorities and no other, or against the public ones.

    Raises:
        ValueError: the file holds no certificate.
        OSError: it cannot be read.
    """
    if ca is None:
        return True
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies, against what is loaded here alone
        context.load_verify_locations(cadata=ca.read_text(encoding="ascii"))
        return context
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"--ca {ca} holds no certificate of an authority, in PEM form") from error


def check_certificate(certificate: Path, key: Path | None) -> None:
    """Raise ValueError where a service could not show a certificate, OSError where it is not there."""
    for path in (certificate, key):
        if path is not None:
            path.open("rb").close()  # the library's error would not say which
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise ValueError(
            f"--certificate {certificate} and --key {key or certificate} are no certificate with its private "
            f"key, in PEM form: {error.reason or error}"
        ) from error


def _no_password() -> str:
    raise ValueError("the private key is encrypted; a service that starts by itself needs it decrypted")


def distrust(error: BaseException, url: str) -> str | None:
    """Return why a connection failed where asking again is of no use, or None.

    Args:
        error: what the connection failed with, its causes behind it.
        url: of the service.
    """
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:  # what is raised again can be its own cause
        seen.append(cause)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"{url} does not prove to be {urlsplit(url).hostname}: {cause.verify_message}. Where its "
                f"certificate comes from an authority of your own, name that with --ca FILE."
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in (
            "WRONG_VERSION_NUMBER",
            "RECORD_LAYER_FAILURE",
        ):
            return f"{url} does not speak TLS ({cause.reason}); was it started without --certificate?"
        cause = cause.__cause__ or cause.__context__
    return None
