"""The training server and its defenders."""
