"""The man in the middle and its attackers."""
