"""`midstream serve`: the training server."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midstream import plugins
from midstream.console import options
from midstream.console.process_options import (
    allow_option,
    cache_option,
    capture_option,
    checker_option,
    data_options,
    device_options,
    on_error_option,
    precision_option,
    resume_anyway_option,
)
from midstream.console.service_options import hosts_of, listen_options, refuse_open_address, tokens_of
from midstream.console.specification_options import specification_of, specification_options
from midstream.run.process.precisions import Precision

if TYPE_CHECKING:
    from midstream.protocol.specification import Specification


@click.command("serve")
@listen_options(8000)
@options.option("--run", "name", help="Name of the run to start with.")
@specification_options
@options.option(
    "--defender",
    shell_complete=options.named("defenders"),
    help="The defender: none, level-1, level-1+cutmix, or module:Class; none by default.",
)
@checker_option
@on_error_option
@data_options
@allow_option
@options.option(
    "--out",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Parent folder of the run folders.",
)
@options.option(
    "--resume",
    default="all",
    show_default=True,
    help="Unfinished runs of --out to resume: all, none, or one by name.",
)
@options.option(
    "--checkpoint-every",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Maximum number of steps between checkpoints.",
)
@options.option(
    "--require-signature",
    type=click.Path(path_type=Path),
    help="Accept only batches signed with this file's key.",
)
@cache_option
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
    data_root: Path | None,
    download: bool,
    allow: tuple[str, ...],
    out: Path,
    resume: str,
    checkpoint_every: int,
    require_signature: Path | None,
    cache: Path | None,
    resume_anyway: bool,
    device: str,
    threads: int | None,
    precision: Precision,
    **settings: Any,
) -> None:
    """Train on the minibatches that arrive, after a defender has corrected them.

    With --dataset, the server creates a run at once; otherwise POST /v1/runs creates one. The server resumes
    unfinished runs in --out from where they stopped, even after a crash.

    \b
    Example: midstream serve --dataset digits --defender level-1
    """
    from midstream.protocol.signature import read_key
    from midstream.run.datasets import Source
    from midstream.run.process.environment import configure
    from midstream.web.hosting import Guard, listen, serve, url_of
    from midstream_server.http.app import make_app, wake
    from midstream_server.runs.hosting.registry import Registry, Settings
    from midstream_server.runs.recovery.resuming import ResumeError, left_behind

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
    named = [settings[key] for key in ("dataset", "model", "optimizer") if settings[key] is not None]
    if settings["defender"] is not None:
        named += plugins.members(settings["defender"])
    if settings["checker"] is not None:
        named.append(settings["checker"])
    registry = Registry(
        Settings(
            out=out,
            device=configure(threads=threads, device=device, precision=precision),
            source=Source(data_root, download),
            allowed=frozenset((*allow, *(one for text in named for one in plugins.permitted(text)))),
            checkpoint_every=checkpoint_every,
            cache=cache,
            resume_anyway=resume_anyway,
            signature_key=read_key(require_signature) if require_signature else None,
        ),
        say,
    )
    listener = listen(host, port, fd)
    with listener:
        names = left_behind(out) if resume == "all" else [] if resume == "none" else [resume]
        registry.take_up(names)
        wanted = specification_of(settings) if settings["dataset"] is not None else None
        for aside in registry.set_aside.values():
            if aside.name == resume or (wanted is not None and aside.is_what(wanted)):
                registry.release()
                raise ResumeError(aside.sentence)
        if wanted is not None and not any(_is(run.specification, wanted) for run in registry.runs.values()):
            registry.create(wanted)
        for run in registry.runs.values():
            waits = f"waits for {run.waiting_for()}" if run.waiting_for() else "is being resumed"
            say(f"run {run.name!r} {waits}; its folder is {run.recorded.folder.path}")
        if not registry.runs:
            say(f"waiting for {registry.waiting_for()}")
        where = f"listening on {url_of(listener, guard)}; open it in a browser for the dashboard, or /docs"
        app = make_app(registry)
        serve(app, listener, wake=lambda: wake(registry), ready=lambda: say(where), guard=guard)
    say("stopped")


def _is(run: "Specification", wanted: "Specification") -> bool:
    from midstream_server.runs.recovery.left import ResumeError

    if wanted.name is None:
        return run.model_copy(update={"name": None}) == wanted
    if run.name == wanted.name and run != wanted:
        was, now = run.model_dump(), wanted.model_dump()
        found = [f"{key} {was[key]}, here {now[key]}" for key in was if was[key] != now[key]]
        raise ResumeError(
            f"run {run.name!r} was started with {'; '.join(found)}. Resume it with those settings, or name a "
            f"new run with --run"
        )
    return run == wanted


def say(text: str) -> None:
    """Print a message for the operator."""
    click.echo(f"server: {text}", err=True)
