"""Measurements that a page in docs reports, each one command."""
