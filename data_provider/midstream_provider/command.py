"""`midstream provide`: the data provider."""

from pathlib import Path

import click

from midstream.console import options
from midstream.console.finite import NOT_NEGATIVE
from midstream.console.process_options import allow_option, data_options
from midstream.console.service_options import (
    ca_option,
    sign_option,
    status_option,
    token_of,
    token_option,
    whole_url,
)
from midstream.console.silence import silent_after_option


@click.command("provide")
@options.option(
    "--server",
    default="http://127.0.0.1:8001",
    show_default=True,
    callback=whole_url,
    help="URL of the server, or of a proxy in front of it.",
)
@options.option("--run", "name", help="The run to feed; by default the only unfinished one.")
@options.option(
    "--give-up-after",
    type=NOT_NEGATIVE,
    help="Give up after this many seconds without an answer; never by default.",
)
@silent_after_option
@sign_option
@token_option
@ca_option
@status_option
@data_options
@allow_option
@options.show_config
def command(
    server: str,
    name: str | None,
    give_up_after: float | None,
    silent_after: float,
    sign_key: Path | None,
    token_file: Path | None,
    ca: Path | None,
    status_port: int | None,
    data_root: Path | None,
    download: bool,
    allow: tuple[str, ...],
) -> None:
    """Send a run its minibatches, and wait for each acknowledgement.

    The run's specification determines the data set, the seed and the number of batches. The data are read on
    this machine. The last two lines of the output are the run's result. The exit code is 0 if the run
    finished, and 1 otherwise.

    \b
    Example: midstream provide --server http://127.0.0.1:8001
    """
    from midstream.console.progress import Progress
    from midstream.protocol.signature import read_key
    from midstream.run.datasets import Source
    from midstream.web.client import Client
    from midstream.web.link import HttpLink
    from midstream.web.status.beside import shown
    from midstream.web.tls import trusting
    from midstream_provider.activity import Activity
    from midstream_provider.ending import result_table, settled
    from midstream_provider.push import feed, find_run, load_source

    key = read_key(sign_key) if sign_key else None
    token, verify = token_of(token_file), trusting(ca)
    activity = Activity(server, say)
    client = Client(
        server,
        say=activity.say,
        give_up_after=give_up_after,
        token=token,
        verify=verify,
        silent_after=silent_after,
    )
    step = 0
    try:
        with shown(activity.status, status_port, say):
            status = find_run(client, name, activity.say)
            step = status.step
            batches = load_source(status, Source(data_root, download), allowed=allow)
            activity.say(
                f"feeding run {status.name!r} at {server}, from batch {status.step} of {status.total_steps}"
            )
            activity.feeds(status)
            with Progress(status.total_steps, done=status.step, label="provider") as progress:
                while status.step < status.total_steps:
                    link = HttpLink(client, status.name, meanwhile=batches.prepare)
                    for _, answer in feed(link, batches, first=status.step, key=key):
                        step = answer.next_seq
                        progress.update(step, f"loss {answer.loss:.3f}")
                        activity.acknowledged(answer)
                    # Say this before waiting for the end, so that the result is the last output.
                    activity.say(f"all {status.total_steps} batches of run {status.name!r} were taken")
                    status = settled(client, status)
    except KeyboardInterrupt:
        say(f"stopped before batch {step}; the same command continues from there")
    else:
        click.echo(result_table(status))
    finally:
        client.close()


def say(text: str) -> None:
    """Print a message for the operator."""
    click.echo(f"provider: {text}", err=True)
