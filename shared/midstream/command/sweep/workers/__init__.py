"""The workers of a sweep: processes on this machine or on a Ray cluster that play trials as they arrive."""
