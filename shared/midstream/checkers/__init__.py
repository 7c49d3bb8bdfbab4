"""Every checker that has a name: it inspects batches on the training server, and moves nothing.

A checker is one file with a thin class, named in `pyproject.toml`, group `midstream.checkers`.
"""
