"""`midstream attack`: the attacker proxy."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from midstream import plugins
from midstream.console import options
from midstream.console.finite import FINITE
from midstream.console.process_options import (
    allow_option,
    capture_option,
    data_options,
    device_options,
    on_error_option,
    precision_option,
    resume_anyway_option,
)
from midstream.console.service_options import (
    ca_option,
    hosts_of,
    listen_options,
    refuse_open_address,
    sign_option,
    status_option,
    tokens_of,
    whole_url,
)
from midstream.console.silence import silent_after_option
from midstream.players.on_error import OnError
from midstream.run.process.precisions import Precision
from midstream_proxy.surrogates.surrogate_options import surrogate_of, surrogate_options

if TYPE_CHECKING:
    from midstream.mathematics.budget import Norm


@click.command("attack")
@listen_options(8001)
@options.option(
    "--server",
    default="http://127.0.0.1:8000",
    show_default=True,
    callback=whole_url,
    help="The training server.",
)
@ca_option
@silent_after_option
@status_option
@options.option(
    "--attacker",
    default="level-1",
    show_default=True,
    shell_complete=options.named("attackers"),
    help="none, level-1,beta=0.9, file.py:Class, …",
)
@options.option(
    "--epsilon",
    type=FINITE,
    callback=options.radius,
    help="Perturbation budget, in pixel units; by default the data set's.",
)
@options.option("--norm", type=click.Choice(["l2", "linf"]), help="The budget's norm; by default the run's.")
@options.option("--run", help="Attack only this run; by default all.")
@options.option(
    "--gradient",
    type=click.Choice(["server", "own"]),
    default="server",
    show_default=True,
    help="Read the validation gradient from the server, or compute it in the proxy.",
)
@on_error_option
@data_options
@surrogate_options
@allow_option
@options.option(
    "--out",
    default="attacks",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the attacker's memory of each run, needed to continue after a restart.",
)
@sign_option
@resume_anyway_option
@device_options
@capture_option
@precision_option
@options.show_config
def command(
    host: str,
    port: int,
    tokens: Path | None,
    certificate: Path | None,
    key: Path | None,
    max_requests: int,
    max_watchers: int,
    allow_host: tuple[str, ...],
    insecure: bool,
    fd: int | None,
    server: str,
    ca: Path | None,
    silent_after: float,
    status_port: int | None,
    attacker: str,
    epsilon: float | None,
    norm: "Norm | None",
    run: str | None,
    gradient: Literal["server", "own"],
    on_error: OnError,
    data_root: Path | None,
    download: bool,
    allow: tuple[str, ...],
    out: Path,
    sign_key: Path | None,
    resume_anyway: bool,
    device: str,
    threads: int | None,
    precision: Precision,
    **surrogate: Any,
) -> None:
    """Stand between a data provider and a training server, and perturb each minibatch.

    All other requests pass unchanged. The run's status names the attacker, as this proxy announces it.

    \b
    Example: midstream attack --server http://127.0.0.1:8000 --attacker level-1,beta=0.9
    """
    from midstream.protocol.signature import read_key
    from midstream.run.datasets import Source
    from midstream.run.process.environment import configure
    from midstream.web.hosting import Guard, listen, serve, url_of
    from midstream.web.status.beside import shown
    from midstream.web.tls import trusting
    from midstream_proxy.app import Proxy, make_app
    from midstream_proxy.attack import AttackSettings

    guard = Guard(
        tokens_of(tokens),
        max_requests,
        certificate,
        key,
        max_watchers,
        hosts_of(host, allow_host),
    )
    refuse_open_address(
        host,
        tokens=guard.tokens,
        encrypted=certificate is not None,
        insecure=insecure or fd is not None,
    )
    plugins.make("attackers", attacker)
    settings = AttackSettings(
        attacker,
        epsilon=epsilon,
        norm=norm,
        gradient=gradient,
        device=configure(threads=threads, device=device, precision=precision),
        allowed=frozenset(allow),
        source=Source(data_root, download),
        surrogate=surrogate_of(surrogate),
        signing_key=read_key(sign_key) if sign_key else None,
        on_error=on_error,
    )
    listener = listen(host, port, fd)
    with listener:
        where = f"listening on {url_of(listener, guard)}, passing on to {server}, attacker {attacker}"
        if attacker != "none":
            where += f", memory in {out.absolute()}"
        proxy = Proxy(
            server,
            settings,
            run=run,
            out=out,
            resume_anyway=resume_anyway,
            say=say,
            verify=trusting(ca),
            silent_after=silent_after,
        )
        with shown(proxy.activity.status, status_port, say):
            serve(
                make_app(proxy),
                listener,
                wake=proxy.forwarder.wake,
                ready=lambda: say(where),
                guard=guard,
                transparent=True,
            )
    say("stopped")


def say(text: str) -> None:
    """Print a message to the operator."""
    click.echo(f"proxy: {text}", err=True)
