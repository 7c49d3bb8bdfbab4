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
    reduce_option,
    resume_anyway_option,
)
from midstream.console.service_options import (
    hosts_of,
    listen_options,
    refuse_open_address,
    tokens_of,
)
from midstream.console.specification_options import specification_of, specification_options
from midstream.run.process.precisions import Precision

if TYPE_CHECKING:
    from midstream.protocol.specification import Specification
    from midstream.run.ranks.here import Reduce
    from midstream_server.runs.hosting.registry import Registry


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
    "--games",
    is_flag=True,
    help="Let the operator start games from the dashboard: up to three at once, each with an attacker and a "
    "data provider as processes of this machine. Players come from a fixed list.",
)
@options.option(
    "--show-clean",
    is_flag=True,
    help="Show clean examples and their perturbations on the dashboard, if the attacker draws them in the "
    "run folder: the attackers of --games do, and 'attack --show-clean --out RUN-FOLDER'.",
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
@reduce_option
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
    games: bool,
    show_clean: bool,
    require_signature: Path | None,
    cache: Path | None,
    resume_anyway: bool,
    device: str,
    threads: int | None,
    precision: Precision,
    reduce: "Reduce",
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
    from midstream.run.ranks.opening import ranks
    from midstream.web.hosting import Guard, listen, serve, url_of
    from midstream_server.games.playing import PlayedGames
    from midstream_server.games.processes import Surroundings
    from midstream_server.games.refusing import refuse_games
    from midstream_server.http.app import make_app, wake
    from midstream_server.runs.hosting.registry import Registry, Settings

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
    if games:
        refuse_games(host, fd, certificate, require_signature)
    code = ("dataset", "model", "optimizer", "loss")
    named = [settings[key] for key in code if settings[key] is not None]
    if settings["defender"] is not None:
        named += plugins.members(settings["defender"])
    if settings["checker"] is not None:
        named.append(settings["checker"])
    allowed = frozenset((*allow, *(one for text in named for one in plugins.permitted(text))))
    with ranks(device=device, threads=threads, precision=precision, reduce=reduce, allowed=allowed) as hosts:
        if not hosts:
            return
        registry = Registry(
            Settings(
                out=out,
                device=configure(threads=threads, device=device, precision=precision),
                source=Source(data_root, download),
                allowed=allowed,
                checkpoint_every=checkpoint_every,
                show_clean=show_clean,
                cache=cache,
                resume_anyway=resume_anyway,
                signature_key=read_key(require_signature) if require_signature else None,
            ),
            say,
        )
        wanted = specification_of(settings) if settings["dataset"] is not None else None
        with listen(host, port, fd) as listener:
            _take_up(registry, resume, wanted)
            where = (
                f"listening on {url_of(listener, guard)}; open it in a browser for the dashboard, or /docs"
            )
            played = None
            if games:
                data = [] if data_root is None else ["--data-root", str(data_root)]
                computing = ["--device", str(registry.settings.device), "--precision", precision]
                computing += [] if threads is None else ["--threads", str(threads)]
                token = None if guard.tokens is None else guard.tokens.further("provider")
                attacking = [*data, *computing, *["--show-clean"] * show_clean]
                played = PlayedGames(registry, Surroundings(url_of(listener), token, data, attacking), say)
            app = make_app(registry, played)
            serve(app, listener, wake=lambda: wake(registry, played), ready=lambda: say(where), guard=guard)
    say("stopped")


def _take_up(registry: "Registry", resume: str, wanted: "Specification | None") -> None:
    """Resume the unfinished runs that `--resume` names, and create the run that the options describe."""
    from midstream_server.runs.recovery.resuming import ResumeError, left_behind

    out = registry.settings.out
    registry.take_up(left_behind(out) if resume == "all" else [] if resume == "none" else [resume])
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
