"""The services, spoken to as anyone may speak to them: over HTTP, and as processes."""
