"""What more than one file of tests needs."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

# The tensors here are small: a second thread is mostly waited for, and long on a busy machine.
torch.set_num_threads(1)

# Every setting can come from the environment; the tests' own must not.
_ENVIRONMENT = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("MIDSTREAM_")}

# For the processes that share the tests, which inherit what is left.
os.environ |= {f"TESTS_OF_{name}": value for name, value in _ENVIRONMENT.items()}


# What players learn before a game is kept for these tests alone.
_CACHE = TemporaryDirectory(prefix="midstream-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the torchvision root that the environment variable MIDSTREAM_DATA_ROOT names."""
    root = os.environ.get("TESTS_OF_MIDSTREAM_DATA_ROOT")
    if not root:
        pytest.skip("the real data sets are tested where MIDSTREAM_DATA_ROOT names a torchvision root")
    return Path(root)
