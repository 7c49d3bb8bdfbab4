"""`python -m benchmarks.endurance`: games with 200 kills and damaged files."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.chaos.game import undisturbed
from benchmarks.endurance.plan import GAMES, events
from benchmarks.endurance.round import EndedByRefusalError, Round
from benchmarks.endurance.tally import Tally
from benchmarks.endurance.watch import FaultFoundError


@click.command()
@click.option("--kills", default=200, show_default=True, help="Kills (SIGKILL) in all games together.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", multiple=True, help="Play only games whose title contains this text.")
@click.option("--first", default=0, show_default=True, help="Number of each game's first event.")
@click.option(
    "--patience", default=60.0, show_default=True, help="Seconds without output after which a game hangs."
)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder in which to leave the games.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Page whose text between two comments, endurance and its end, becomes the tally.",
)
def main(
    kills: int,
    seed: int,
    only: tuple[str, ...],
    first: int,
    patience: float,
    keep: Path | None,
    into: Path | None,
) -> None:
    """Play each game undisturbed, then repeatedly with killed processes and damaged files.

    One file is damaged before a third of the restarts. Every game must end with the bits of the undisturbed
    game; or a service refuses to start and names the damaged file, and the game ends with those bits once the
    file is restored. Anything else is a fault: the command prints how to repeat it, leaves its folder and
    exits with code 1.
    """
    titles = [title for title in GAMES if not only or any(part in title for part in only)]
    folder = keep or Path(tempfile.mkdtemp(prefix="endurance-"))
    tally, faults = Tally(), 0
    for number, title in enumerate(titles):
        place = folder / str(number)
        place.mkdir(parents=True)
        started, share = time.monotonic(), kills * (number + 1) // len(titles)
        reference = undisturbed(GAMES[title], place)
        drawn, rounds = events(seed, title, first=first), 0
        while tally.kills() < share:
            rounds, before = rounds + 1, tally.kills()
            disturbed = Round(GAMES[title], place / f"round-{rounds}", reference, tally, patience=patience)
            try:
                disturbed.play(drawn, share - tally.kills())
                tally.game_ended(title, "ended in the undisturbed bits")
            except EndedByRefusalError:
                tally.game_ended(title, "ended by a refusal that names the file")
            except FaultFoundError as error:
                faults += 1
                tally.game_ended(title, "FAULTY")
                click.echo(f"FAULT, seed {seed}, {title}, {place / f'round-{rounds}'}: {error}\n", err=True)
                if tally.kills() == before:
                    break  # the undisturbed game already fails
        click.echo(f"{title}: {rounds} games, {time.monotonic() - started:.0f} s", err=True)
    click.echo(tally.markdown())
    if into is not None:
        _write(into, f"Seed {seed}: {tally.markdown()}")
    if not keep and not faults:
        shutil.rmtree(folder)
    sys.exit(faults > 0)


def _write(page: Path, text: str) -> None:
    before, begin, rest = page.read_text(encoding="utf-8").partition("<!-- endurance -->\n")
    _, end, after = rest.partition("<!-- end of endurance -->")
    if not end:
        raise click.UsageError(f"{page} has no place for the tally, between two comments")
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
