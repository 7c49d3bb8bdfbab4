"""What a process computes with: versions, device, threads, precision and memory."""
