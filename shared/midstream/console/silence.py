"""`--silent-after`: how soon a peer that is gone is noticed."""

import click

from midstream.console import options
from midstream.web.liveness import SILENT_AFTER

silent_after_option = options.option(
    "--silent-after",
    type=click.FloatRange(min=0, min_open=True),
    default=SILENT_AFTER,
    show_default=True,
    help="Seconds without a sign of life within which a connection is given up and made anew.",
)
