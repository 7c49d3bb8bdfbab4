"""The small page on which a proxy and a provider say what they do and what they wait for."""
