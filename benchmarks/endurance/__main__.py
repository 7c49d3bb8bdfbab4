"""`python -m benchmarks.endurance`: games killed 200 times, their files damaged meanwhile."""

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
@click.option("--kills", default=200, show_default=True, help="Of all games' processes, by SIGKILL.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", multiple=True, help="Play only the games whose title has this in it.")
@click.option("--first", default=0, show_default=True, help="Number of each game's first event.")
@click.option(
    "--patience", default=60.0, show_default=True, help="Seconds without a word: a game that hangs."
)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder where the games are left.")
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
    """Play each game undisturbed, and again and again while its processes are killed and its files damaged.

    A third of the restarts find one file damaged. Every game must end in the bits of the undisturbed one; or
    a service names the damaged file and refuses, and the game ends in those bits once the file is put back.
    All else is a fault: it is printed with what repeats it, its folder is kept, and the exit code is 1.
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
                    break  # it is at fault undisturbed
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
