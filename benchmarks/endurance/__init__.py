"""Games whose processes are killed repeatedly and whose files are damaged before restarts."""
