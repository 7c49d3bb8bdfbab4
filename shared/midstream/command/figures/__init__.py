"""`midstream figure N`: regenerate a figure of the paper from a seed."""
