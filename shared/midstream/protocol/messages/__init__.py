"""The JSON bodies of the server's responses: the server sends them, and the client returns them."""
