"""The attacker proxy: a man in the middle between data provider and training server."""
