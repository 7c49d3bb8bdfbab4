"""The test bench for attackers and defenders of one's own: `midstream plugins check`."""
