"""Data sets in, minibatches out."""
