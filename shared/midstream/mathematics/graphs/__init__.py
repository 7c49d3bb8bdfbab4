"""Functions of tensors that a CUDA device can replay as graphs."""
