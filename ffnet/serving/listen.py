"""The server's port: reserved from the start, shared by the replicas, free of other servers."""

import socket

from ffnet.errors import InputError


def reserved(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for this server's replicas while it is open; 0 is a free port.

    Raises:
        InputError: the address is not this machine's, or another server listens there.
    """
    try:
        if port:  # a shared socket would not mind another server's
            with socket.socket(_family(host)) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind((host, port))
        return shared_socket(host, port)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--host and --port must be free to listen on. Given: {host}:{port} ({error})"
        ) from None


def shared_socket(host: str, port: int) -> socket.socket:
    """A socket bound to a port that this user's other processes may be bound to as well."""
    made = socket.socket(_family(host))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, port))
    return made


def _family(host: str) -> socket.AddressFamily:
    return socket.getaddrinfo(host, None)[0][0]
