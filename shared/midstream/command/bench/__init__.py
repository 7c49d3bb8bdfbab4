"""The test bench for players, `midstream plugins check`."""
