"""Command-line options that several commands share, and where their values come from.

A flag wins over an environment variable (`MIDSTREAM_…`), that over the scenario file, that over the default.
"""

import functools
import ipaddress
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit

import click
from click.core import ParameterSource
from pydantic import ValidationError

from midstream import plugins
from midstream.console.finite import FINITE
from midstream.players.referee import OnError
from midstream.protocol.specification import Specification, defaults
from midstream.protocol.tokens import Tokens, read_token, read_tokens
from midstream.web.hosts import names_of
from midstream.web.places import REQUESTS, WATCHERS

Command = TypeVar("Command", bound=Callable[..., Any])

_SOURCES = {
    ParameterSource.COMMANDLINE: "flag",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "scenario file",
    ParameterSource.DEFAULT: "default",
}


def option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Return a click option that also reads `MIDSTREAM_<NAME>`."""
    long = next(name for name in names if name.startswith("--")).partition("/")[0]
    return click.option(*names, envvar=f"MIDSTREAM_{long[2:].upper().replace('-', '_')}", **settings)


def is_whole_url(url: str) -> bool:
    """Return whether a text is a service's base URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def whole_url(_: click.Context, __: click.Parameter, url: str) -> str:
    """Return a service's base URL, or say what one looks like."""
    if not is_whole_url(url):
        raise click.BadParameter(f"{url!r} is not a URL such as http://127.0.0.1:8000")
    return url


def radius(_: click.Context, __: click.Parameter, epsilon: float | None) -> float | None:
    """Return the radius of a ball, or say what one is."""
    if epsilon is not None and not 0 <= epsilon < 1e6:
        raise click.BadParameter(f"{epsilon} is not a radius: at least 0, in pixel units")
    return epsilon


def named(kind: plugins.Kind) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return what a shell offers for an option that takes a plug-in's name."""

    def begun(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        last = plugins.members(incomplete)[-1] if kind == "defenders" else incomplete
        before = incomplete.removesuffix(last)
        return [before + name for name in plugins.names(kind) if name.startswith(last)]

    return begun


def together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return one decorator that applies several, shown in the order given."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(options):
            command = decorator(command)
        return command

    return decorate


def show_config(command: Command) -> Command:
    """Add --show-config, which prints every setting and where it comes from instead of running the command.

    It is the last decorator, next to the function: by then every value is known.
    """

    @click.option(
        "--show-config", is_flag=True, help="Print every setting and where it comes from; do nothing."
    )
    @functools.wraps(command)
    def shown(*, show_config: bool, **settings: Any) -> None:
        if show_config:
            _print_settings(click.get_current_context(), settings)
        else:
            command(**settings)

    return shown  # type: ignore[return-value]


def _print_settings(context: click.Context, settings: dict[str, Any]) -> None:
    dataset = settings["dataset"] or "digits" if "dataset" in settings else None
    filled = defaults(dataset) if dataset else {}
    for parameter in context.command.params:
        if parameter.name not in settings:
            continue
        value, source = settings[parameter.name], context.get_parameter_source(parameter.name)
        where = _SOURCES.get(source, "default") if source else "default"
        if value is None and parameter.name in filled:
            value, where = filled[parameter.name], f"default of {dataset}"
        elif value is None and dataset and parameter.name in Specification.model_fields:
            value = Specification.model_fields[parameter.name].default
        flag = parameter.opts[0].lstrip("-")
        click.echo(f"{flag} = {json.dumps(value, default=str, ensure_ascii=False)}  ({where})")


specification_options = together(
    option(
        "--dataset",
        shell_complete=named("datasets"),
        help="digits, mnist, mnist-1-vs-7, fashion-mnist, cifar10, cifar100, folder:PATH or module:function.",
    ),
    option("--image-size", type=int, help="Scale and crop a folder's images to this side length."),
    option(
        "--model",
        shell_complete=named("models"),
        help="auto, digits-cnn, mnist-cnn, logistic, small-cnn, cifar-cnn, photo-cnn or module:function; "
        "mnist-cnn,dropout=0.2.",
    ),
    option(
        "--batch-norm",
        type=click.Choice(["refuse", "evaluation"]),
        help="Refuse a model with batch norm, by default, or keep it in evaluation mode throughout.",
    ),
    option("--train-size", type=int, help="Training examples to use; all by default."),
    option("--validation-size", type=int, help="Examples held out as the public validation set."),
    option("--batch-size", type=int, help="Examples a minibatch."),
    option("--epochs", type=int, help="How often each training example is sent."),
    option("--max-steps", type=int, help="Stop after so many steps, if earlier."),
    option("--optimizer", type=click.Choice(["adam", "sgd"]), help="adam by default."),
    option("--lr", "learning_rate", type=FINITE, help="Learning rate; 0.0008 by default."),
    option("--epsilon", type=FINITE, help="Perturbation budget, in pixel units."),
    option("--norm", type=click.Choice(["l2", "linf"]), help="The budget's norm; l2 by default."),
    option(
        "--pixel-range",
        type=click.Choice(["valid", "unbounded"]),
        help="Clamp what either player moves to [0, 1], by default, or let it leave that range.",
    ),
    option("--seed", type=int, help="Every random draw derives from it; 0 by default."),
    option(
        "--target",
        type=int,
        help="Class whose conversion and evasion rates are measured; on play the attacker's by default.",
    ),
    option(
        "--access",
        type=click.Choice(["white-box", "black-box"]),
        help="black-box shows an attacker no model; white-box by default.",
    ),
    option("--evaluate-every", type=int, help="Steps between evaluations; an epoch by default."),
)

on_error_option = option(
    "--on-error",
    type=click.Choice(get_args(OnError)),
    default="stop",
    show_default=True,
    help="Stop a batch that a player fails at, or pass it on as it came, and count it.",
)

attack_budget_options = together(
    option(
        "--attack-epsilon",
        type=FINITE,
        callback=radius,
        help="The attacker's budget, where it is not --epsilon, which is the defender's.",
    ),
    option("--attack-norm", type=click.Choice(["l2", "linf"]), help="Its norm, where it is not --norm."),
)

data_options = together(
    option("--data-root", type=click.Path(path_type=Path), help="A torchvision root that holds the data."),
    option("--download", is_flag=True, help="Fetch absent data from their authors."),
)

cache_option = option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where what is learned before a game is kept; ~/.cache/midstream by default.",
)

surrogate_options = together(
    option(
        "--surrogate",
        shell_complete=named("models"),
        help="The model trained to attack a black-box run; auto by default.",
    ),
    option(
        "--surrogate-epochs",
        type=click.IntRange(1),
        help="End its training there if it has not converged; five times the run's epochs by default.",
    ),
    option(
        "--surrogate-train-size",
        type=click.IntRange(1),
        help="How many of the run's training examples the attacker has; all by default.",
    ),
    option(
        "--surrogate-seed", type=click.IntRange(0, 2**63 - 1), help="Its own; made of the run's by default."
    ),
    cache_option,
)

allow_option = option(
    "--allow", multiple=True, help="A folder:PATH, module:name or file.py:name that a peer may name."
)

resume_anyway_option = option(
    "--resume-anyway",
    is_flag=True,
    help="Go on although versions, device, threads, settings or an attacker's memory differ from before; "
    "that is recorded.",
)

process_options = together(
    option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …"),
    option("--threads", type=click.IntRange(1), help="CPU threads; equal bits need equal counts."),
)


ca_option = option(
    "--ca",
    type=click.Path(path_type=Path),
    help="Verify an https server against this authority (PEM) alone; against the public ones by default.",
)

status_option = option(
    "--status-port",
    type=click.IntRange(0, 65535),
    help="Show a status page at this port of 127.0.0.1, or at a free one for 0; none by default.",
)

sign_option = option(
    "--sign-key", type=click.Path(path_type=Path), help="Sign each batch with this file's key."
)

token_option = option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="The token to show the server; MIDSTREAM_TOKEN by default.",
)


def listen_options(port: int) -> Callable[[Command], Command]:
    """Return the options of a service that listens, with its default port."""
    return together(
        option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        option(
            "--port",
            default=port,
            show_default=True,
            type=click.IntRange(0, 65535),
            help="0 picks a free one.",
        ),
        option(
            "--tokens",
            type=click.Path(path_type=Path),
            help="Take requests with a token alone: a file from 'midstream tokens', or MIDSTREAM_…_TOKEN.",
        ),
        option(
            "--certificate",
            type=click.Path(path_type=Path),
            help="Speak TLS, and show this certificate (PEM, with those that signed it).",
        ),
        option(
            "--key",
            type=click.Path(path_type=Path),
            help="Its private key; in the certificate's file by default.",
        ),
        option(
            "--max-requests",
            type=click.IntRange(1),
            default=REQUESTS,
            show_default=True,
            help="Batches in hand at once, and attackers' reads; more are asked to come again.",
        ),
        option(
            "--max-watchers",
            type=click.IntRange(1),
            default=WATCHERS,
            show_default=True,
            help="Event streams and long polls open at once, and other reads; one client has half of them.",
        ),
        option(
            "--allow-host",
            multiple=True,
            help="A name or address that this service is reached by, beside localhost and its own address.",
        ),
        option(
            "--insecure", is_flag=True, help="Listen beyond this machine, open to anyone who can reach it."
        ),
        option("--fd", type=int, help="Listen on this inherited socket, in place of host and port."),
    )


def specification(settings: dict[str, Any], **fixed: Any) -> Specification:
    """Return the specification that a command's settings make, unset ones left to the data set.

    Raises:
        click.UsageError: a value is out of range.
    """
    chosen = {name: settings[name] for name in Specification.model_fields if settings.get(name) is not None}
    try:
        return Specification.model_validate(chosen | fixed)
    except ValidationError as error:
        raise click.UsageError("; ".join(_fault(dict(fault)) for fault in error.errors())) from error


def _fault(fault: Mapping[str, Any]) -> str:
    """Return in words what is wrong with a setting, by its flag."""
    if not fault["loc"]:
        return str(fault["msg"])
    name, value = str(fault["loc"][0]), fault["input"]
    if name == "name":
        near = re.sub(r"[^a-z0-9._-]+", "-", str(value).lower()).lstrip("._-")[:100]
        return (
            f"--run: {value!r} is no name of a run, which begins with a lower-case letter or a digit and "
            f"goes on with these, '.', '_' and '-', 100 at most" + f"; {near!r} would be one" * bool(near)
        )
    flag = {"learning_rate": "lr"}.get(name, name).replace("_", "-")
    return f"--{flag}: {fault['msg']}, not {value!r}"


def refuse_open_address(host: str, *, tokens: Tokens | None, encrypted: bool, insecure: bool) -> None:
    """Raise UsageError where other machines reach an address, no tokens are asked for, and nobody agreed.

    That tokens will travel in the clear is said, no more: an encrypting proxy may stand before the service.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and tokens is None and not insecure:
        raise click.UsageError(
            f"--host {host} would let other machines reach this service, which asks nobody who they are. "
            f"Give it --tokens FILE (from 'midstream tokens FILE'), use 127.0.0.1, or add --insecure if that "
            f"network is yours alone."
        )
    if not loopback and tokens is not None and not encrypted:
        click.echo("without --certificate, tokens reach this service in the clear", err=True)


def hosts_of(host: str, allowed: tuple[str, ...]) -> frozenset[str]:
    """Return the names of a service, of `--host` and `--allow-host`.

    Raises:
        click.UsageError: one is not a host.
    """
    try:
        return names_of(host, allowed)
    except ValueError as error:
        raise click.UsageError(f"--allow-host: {error}") from error


def tokens_of(path: Path | None) -> Tokens | None:
    """Return a service's tokens, of `--tokens` or the environment.

    Raises:
        click.UsageError: they cannot be used, and why.
    """
    try:
        return read_tokens(path, os.environ)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--tokens: {error}") from error


def token_of(path: Path | None) -> str | None:
    """Return a client's token, of `--token-file` or the environment.

    Raises:
        click.UsageError: it cannot be used, and why.
    """
    try:
        return read_token(path, os.environ)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--token-file: {error}") from error
