"""`--silent-after`: the timeout after which a silent connection is replaced."""

import click

from midstream.console import options
from midstream.web.silence import SILENT_AFTER

silent_after_option = options.option(
    "--silent-after",
    type=click.FloatRange(min=0, min_open=True),
    default=SILENT_AFTER,
    show_default=True,
    help="Seconds without a sign of life after which a connection is closed and reopened.",
)
