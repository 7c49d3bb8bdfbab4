"""TLS: a service's certificate, and a client's verification of it."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

Verify = ssl.SSLContext | bool
"""How a client verifies a certificate: against given authorities, or (True) against the public ones."""


def trusting(ca: Path | None) -> Verify:
    """Return how to verify a server: only against the authorities in `ca`, or against the public ones.

    Raises:
        ValueError: the file holds no certificate.
        OSError: the file cannot be read.
    """
    if ca is None:
        return True
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, only against what is loaded next
        context.load_verify_locations(cadata=ca.read_text(encoding="ascii"))
        return context
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"--ca {ca} holds no certificate of an authority in PEM format") from error


def check_certificate(certificate: Path, key: Path | None) -> None:
    """Check a service's certificate and key.

    Raises:
        ValueError: the files hold no certificate with its private key.
        OSError: a file cannot be read.
    """
    for path in (certificate, key):
        if path is not None:
            path.open("rb").close()  # the library's error would not name the file
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise ValueError(
            f"--certificate {certificate} and --key {key or certificate} are no certificate with its "
            f"private key in PEM format: {error.reason or error}"
        ) from error


def _no_password() -> str:
    raise ValueError("the private key is encrypted; a service that starts by itself needs it decrypted")


def distrust(error: BaseException, url: str) -> str | None:
    """Return why a connection failed, if retrying is useless; otherwise None.

    Args:
        error: the connection's error, with its causes.
        url: the service's URL.
    """
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:  # an error that is raised again can be its own cause
        seen.append(cause)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"{url} does not prove to be {urlsplit(url).hostname}: {cause.verify_message}. If an "
                f"authority of your own issued its certificate, name that authority with --ca FILE."
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in (
            "WRONG_VERSION_NUMBER",
            "RECORD_LAYER_FAILURE",
        ):
            return f"{url} does not speak TLS ({cause.reason}); was it started without --certificate?"
        cause = cause.__cause__ or cause.__context__
    return None
