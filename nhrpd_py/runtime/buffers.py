"""Sizes of socket buffers beyond the system's limit, where we may."""

import socket

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33


def set_receive_buffer(sock: socket.socket, size: int) -> None:
    """Sets a receive buffer of so many octets; without CAP_NET_ADMIN as many as the system allows. Raises OSError."""
    _set(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, size)


def set_send_buffer(sock: socket.socket, size: int) -> None:
    """Sets a send buffer of so many octets; without CAP_NET_ADMIN as many as the system allows. Raises OSError."""
    _set(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, size)


def _set(sock: socket.socket, forced: int, limited: int, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, forced, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, limited, size)
