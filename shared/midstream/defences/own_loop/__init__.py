"""`Defender`, for a training loop of your own: what it takes, measures and reports."""
