"""Connections without a client library."""
import socket


def send(port, data, timeout=10):
    """Sends bytes; returns everything that comes back until the server closes, or until nothing comes any more."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        client.sendall(data)
        got = b""
        try:
            while piece := client.recv(65536):
                got += piece
        except OSError:
            pass
        return got


def slow_reader(port):
    """A connection with a buffer for a few kilobytes: what is not read stays with the server."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    return client
