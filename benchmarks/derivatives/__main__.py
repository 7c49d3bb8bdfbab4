"""`python -m benchmarks.derivatives`: each layer and model is right, or refused in a sentence."""

import sys
from collections.abc import Iterable

import click
import torch

from benchmarks.derivatives.architectures import architectures, skipped
from benchmarks.derivatives.case import Case
from benchmarks.derivatives.operations import OPERATIONS
from benchmarks.derivatives.report import line, write_pages
from benchmarks.derivatives.sweep import Outcome, judge, summary


@click.command()
@click.option("--match", default="", help="Only cases whose name has this in it.")
@click.option("--double-only", is_flag=True, help="Leave single precision out.")
@click.option("--threads", default=2, show_default=True)
@click.option("--pages", is_flag=True, help="Write the tables of docs/own-model.md and docs/operations.md.")
def main(match: str, double_only: bool, threads: int, pages: bool) -> None:
    """Try every case, and end with 1 if one is neither right nor refused as its table says."""
    if pages and (match or double_only):
        raise click.UsageError("--pages needs every case, in both precisions")
    torch.set_num_threads(threads)

    def tried(cases: Iterable[Case]) -> list[Outcome]:
        found = []
        for case in cases:
            if match.lower() in case.name.lower():
                found.append(judge(case, single=not double_only))
                click.echo(line(found[-1]))
        return found

    models = tried(architectures())
    operations = {title: tried(cases) for title, cases in OPERATIONS.items()}
    parts = [o for found in operations.values() for o in found]
    if not models and not parts:
        raise click.UsageError(f"no case has {match!r} in its name")
    click.echo(f"\narchitectures: {summary(models)}\noperations: {summary(parts)}")
    if skipped():
        click.echo(skipped())
    if pages:
        write_pages(operations, models)
    sys.exit(not all(outcome.expected for outcome in [*models, *parts]))


if __name__ == "__main__":
    main()
