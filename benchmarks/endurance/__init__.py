"""Games whose processes are killed again and again, and whose files are damaged before a restart."""
