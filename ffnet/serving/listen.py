"""The server's port: all replicas share it, and no other server may listen on it."""

import socket

from ffnet.errors import InputError


def reserved(host: str, port: int) -> socket.socket:
    """Return a socket that reserves a port for the replicas as long as the socket is open.

    Args:
        host: address of this machine.
        port: the port; 0 chooses a free port.

    Raises:
        InputError: the address is not this machine's, or another server listens there.
    """
    try:
        if port:  # a shared socket alone would not notice another server
            with socket.socket(_family(host)) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind((host, port))
        return shared_socket(host, port)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--host and --port must be free to listen on. Given: {host}:{port} ({error})"
        ) from None


def shared_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port. Other processes of this user may bind the same port."""
    made = socket.socket(_family(host))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, port))
    return made


def _family(host: str) -> socket.AddressFamily:
    return socket.getaddrinfo(host, None)[0][0]
