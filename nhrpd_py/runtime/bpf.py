"""Classic BPF: programs with which the kernel drops what a socket does not want, ahead of its queue."""

import ctypes
import socket
import struct
from collections.abc import Sequence

SO_ATTACH_FILTER = 26

BpfInstruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand (`struct sock_filter`)."""


def attach(sock: socket.socket, program: Sequence[BpfInstruction]) -> None:
    """Gives a socket a program. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HP", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
