"""What makes a run survive a crash: journal, checkpoints, provenance, and the resume after a restart."""
