"""Requests on plain sockets."""

import socket

from services.waiting import LONGEST


def ask(url: str, path: str, *headers: str, buffer: int | None = None) -> socket.socket:
    """Send a GET on a connection of its own, and read nothing."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(LONGEST)
    connection.connect((host, int(port)))
    connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
    return connection
