"""`midstream figure N`: the paper's figures, each by one command from a seed."""
