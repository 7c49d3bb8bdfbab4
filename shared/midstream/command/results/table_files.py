"""Write a table to a file: Markdown, CSV or Parquet."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from midstream.command.results.table import Table, TableError
from midstream.storage.run_folder import write_whole


def write_table(path: Path, table: Table) -> None:
    """Write a table; the file's suffix chooses the format.

    Markdown holds the table as it is printed; CSV and Parquet hold one record per cell with the settings, the
    mean, the deviation and n, all digits included.

    Raises:
        TableError: the suffix is not known, or Parquet needs a package that is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise TableError(f"{path} ends with none of {', '.join(SUFFIXES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, SUFFIXES[path.suffix](table))


def _markdown(table: Table) -> bytes:
    return f"{table.markdown()}\n".encode()


def _csv(table: Table) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*table.rows, *table.columns, "mean", "deviation", "n"])
    writer.writeheader()
    writer.writerows(table.records())
    return text.getvalue().encode()


def _parquet(table: Table) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise TableError(
            f"Parquet needs the package {error.name!r}: pip install 'midstream[parquet]'"
        ) from error
    sink = io.BytesIO()
    metadata = {"value": table.value, "over": ",".join(table.over)}
    parquet.write_table(
        pyarrow.Table.from_pylist(table.records(), metadata=None).replace_schema_metadata(metadata), sink
    )
    return sink.getvalue()


SUFFIXES: dict[str, Callable[[Table], bytes]] = {".md": _markdown, ".csv": _csv, ".parquet": _parquet}
"""The formats by suffix."""
