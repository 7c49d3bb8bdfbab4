"""`midstream examples`: copies the examples, scenarios and grids that the pages name into a folder."""

import os
from importlib.resources import files
from pathlib import Path

import click

from midstream.errors import MidstreamError

FOLDERS = ("examples", "scenarios", "experiments/grids")
_NOT_SHIPPED = {"__pycache__", "memory", "node_modules"}


class ExamplesError(MidstreamError, FileExistsError):
    """The examples cannot be copied; the message names the file that is in the way."""


def shipped() -> Path:
    """Return the folder that holds `FOLDERS`: a part of the wheel, or the root of a clone.

    Raises:
        ExamplesError: this installation has no examples, as in the images of the services.
    """
    package = Path(str(files("midstream")))
    for root in (package / "shipped", package.parents[1]):
        if all((root / folder).is_dir() for folder in FOLDERS):
            return root
    raise ExamplesError("this installation was built without examples; take them from the repository")


def example_files() -> dict[Path, bytes]:
    """Return the content of each file by its path below the folder of `shipped`."""
    root = shipped()
    found = (file for folder in FOLDERS for file in sorted((root / folder).rglob("*")) if file.is_file())
    return {
        file.relative_to(root): file.read_bytes()
        for file in found
        if not _NOT_SHIPPED & set(file.relative_to(root).parts)
    }


def copy_examples(target: Path) -> list[Path]:
    """Copy all files below a folder and return the paths of those that were not there yet.

    Args:
        target: a folder; it is made if it does not exist.

    Raises:
        ExamplesError: a file of that name has another content, or is in the place of a folder, or is a link
            to nothing. Nothing is copied then.
    """
    contents = example_files()
    new = [path for path in contents if not os.path.lexists(target / path)]
    for path in sorted(contents.keys() - set(new)):
        if not (target / path).is_file() or (target / path).read_bytes() != contents[path]:
            raise ExamplesError(f"{target / path} exists and differs from the example; choose another folder")
    for folder in sorted({target / folder for path in new for folder in path.parents}):
        if os.path.lexists(folder) and not folder.is_dir():
            raise ExamplesError(f"{folder} is not a folder, and the examples need one; choose another folder")
    for path in new:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(contents[path])
    return new


@click.command("examples")
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Copy the examples, scenarios and grids that the pages name into FOLDER, the current one by default.

    \b
    Example: midstream examples
    """
    new = copy_examples(folder)
    for name in FOLDERS:
        count = sum(path.is_relative_to(name) for path in new)
        click.echo(f"{folder / name}: {count} new file{'' if count == 1 else 's'}")
