"""Games whose processes are killed, whose connections are cut and whose files are damaged."""
