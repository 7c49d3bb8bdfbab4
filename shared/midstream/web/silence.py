"""How long a peer may be silent. Without an HTTP library, so that `--help` can show it quickly."""

SILENT_AFTER = 30.0
"""Seconds without a sign of life after which a peer counts as dead."""
