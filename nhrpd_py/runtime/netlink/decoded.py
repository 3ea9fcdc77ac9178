"""Decodes messages with pyroute2's message classes (linux/rtnetlink.h and the like).

The classes know the attributes and their types. The functions here decode one attribute at a time,
when its value is needed: attributes that are not needed, known or not, cost little and cannot cause
an error; the length of one that is needed must be right. All exceptions of pyroute2 become a
MalformedError. Its sockets are not used.
"""

import functools
import struct
from collections.abc import Callable
from typing import Any, TypeVar

from pyroute2.netlink.exceptions import NetlinkDecodeError
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from nhrpd_py.core.address import Address
from nhrpd_py.runtime.netlink.socket import ATTRIBUTE, HEADER, MalformedError, attributes

UNDECODABLE = (struct.error, ValueError, LookupError, TypeError, NetlinkDecodeError)
"""Exceptions of pyroute2 over malformed octets."""

Decoded = Any
"""A message or attribute of pyroute2, which ships no types."""
Read = TypeVar("Read")


class LinkMessage(ifinfmsg):  # type: ignore[misc]
    """Decodes a link message except for IFLA_PROTINFO, which we do not read: pyroute2 looks its
    class up by a family that may be unknown."""

    protinfo = ifinfmsg.hex


# pyroute2 compiles the table of attributes once per class, and one that its base has is inherited
LinkMessage().compile_nla_table()


def reader(read: Callable[[memoryview], Read]) -> Callable[[memoryview], Read]:
    """Wraps a function so that it raises nothing but MalformedError about what it reads."""

    @functools.wraps(read)
    def guarded(payload: memoryview) -> Read:
        try:
            return read(payload)
        except MalformedError:
            raise
        except UNDECODABLE as error:
            raise MalformedError(f"pyroute2 cannot decode it: {error!r}") from error

    return guarded


def family_in(payload: memoryview) -> int:
    """Returns the address family of a message, its first octet; an empty message has none
    (IndexError)."""
    return payload[0]


def decode(kind: type[Decoded], payload: memoryview) -> Decoded:
    """Returns a message of whole attributes, which `attribute_of` decodes. pyroute2 expects the
    netlink header."""
    attributes(payload, kind.get_size())  # pyroute2 accepts broken ones
    found = kind(HEADER.pack(HEADER.size + len(payload), 0, 0, 0, 0) + bytes(payload))
    found.decode()
    return found


def attribute_of(parent: Decoded, name: str) -> Decoded | None:
    """Returns the first attribute of a name, decoded; None without one.

    pyroute2's own getters log what they cannot decode and return its octets instead.
    """
    for slot in parent["attrs"]:
        if slot.name == name:
            found = slot.cell[1]
            room = found.length
            found.decode()
            if found.length != room or room < ATTRIBUTE.size + found.get_size():
                raise MalformedError(f"{name} of {found.length} octets in {room}")
            return found
    return None


def number(parent: Decoded, name: str) -> int:
    found = attribute_of(parent, name)
    return int(found["value"]) if found is not None else 0


def text(parent: Decoded, name: str) -> str | None:
    """Returns a name; the kernel allows octets in it that are not UTF-8."""
    found = attribute_of(parent, name)
    return found["value"].decode(errors="replace") if found is not None else None


def octets(parent: Decoded, name: str) -> bytes:
    """Returns the raw value of an attribute; empty without one."""
    found = attribute_of(parent, name)
    if found is None:
        return b""
    return bytes(found.data[found.offset + ATTRIBUTE.size : found.offset + found.length])


def set_address(parent: Decoded, name: str) -> Address:
    """Returns an address; empty for an absent or unspecified one."""
    address = octets(parent, name)
    return address if any(address) else b""


def payload_of(kind: type[Decoded], values: dict[str, int], *attrs: tuple[Any, ...]) -> bytes:
    """Returns what follows the netlink header of a message."""
    request = kind()
    request.update(values)
    request["attrs"] = list(attrs)
    request.encode()
    return bytes(request.data[HEADER.size :])
