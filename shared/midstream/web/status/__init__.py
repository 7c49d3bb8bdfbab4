"""The status page of a proxy or a provider: what it does, and what it waits for."""
