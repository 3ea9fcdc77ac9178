"""The reader of ICMP errors: bounded, paced, counted."""

import contextlib
import errno
import socket
from typing import Any, cast

import pytest
import trio
import trio.testing

from nhrpd_py.core.address import parse_address
from nhrpd_py.runtime.icmp import listener as module
from nhrpd_py.runtime.icmp.listener import BATCH, PAUSE_S, IcmpError, IcmpListener
from nhrpd_py.runtime.icmp.quoted import undelivered_ipv4
from nhrpd_py.runtime.inbox import Inbox
from tests.unit.runtime.icmp.test_quoted import GRE, KEYED, error, ipv4


class Source:
    """A socket with a flood to read; `recvfrom_into` gives the sender as a raw socket does."""

    def __init__(self, packets):
        self.packets = list(packets)
        self._pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._pair[0].send(b"readable")

    def fileno(self):
        return self._pair[1].fileno()

    def close(self):
        for each in self._pair:
            each.close()

    def recvfrom_into(self, buffer):
        if not self.packets:
            raise BlockingIOError
        packet = self.packets.pop(0)
        if isinstance(packet, OSError):
            raise packet
        buffer[: len(packet)] = packet
        return len(packet), ("203.0.113.9", 0)

    def getsockopt(self, *_arguments):
        return bytes(32) + (7).to_bytes(4, "little")


@contextlib.contextmanager
def a_listener(packets):
    inbox = Inbox()
    source = Source(packets)
    family = module._Family(cast(Any, source), undelivered_ipv4, socket.AF_INET)
    yield inbox, source, IcmpListener(inbox), family
    source.close()


async def listened(listener, family, reads):
    """Lets it read so many times."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.listen, family)
        await trio.sleep(PAUSE_S * (reads - 0.5))
        nursery.cancel_scope.cancel()


async def test_a_flood_is_read_in_small_parts_and_of_equal_errors_one_is_reported(autojump_clock):
    packets = [error(3, 3, ipv4(GRE, KEYED))] * 1000
    with a_listener(packets) as (inbox, source, listener, family):
        await listened(listener, family, 10)
    assert len(source.packets) == 1000 - 10 * BATCH
    assert len(inbox) == 10
    (event,) = await inbox.take()
    assert event.reporter == parse_address("203.0.113.9")
    assert listener.counters["errors"] == 10 * BATCH
    assert listener.counters["repeated"] == 10 * (BATCH - 1)
    assert listener.counters["overflows"] == 7


async def test_errors_of_the_socket_and_odd_packets_are_counted(autojump_clock):
    packets = [b"?", OSError(errno.EHOSTUNREACH, "no"), error(3, 3, ipv4(GRE, KEYED))]
    with a_listener(packets) as (inbox, _, listener, family):
        await listened(listener, family, 2)
    assert len(inbox) == 1
    assert listener.counters == {
        "malformed": 1,
        "receive_EHOSTUNREACH": 1,
        "errors": 1,
        "repeated": 0,
        "overflows": 7,
    }


async def test_a_machine_that_refuses_the_socket_is_told_so(monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(module, "_open", refuse)
    with pytest.raises(IcmpError, match="CAP_NET_RAW is missing"):
        await IcmpListener(Inbox()).run(True)


async def test_a_machine_without_ipv6_listens_for_ipv4(monkeypatch):
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def open_ipv4(family, _protocol, _types):
        if family != socket.AF_INET:
            raise OSError(errno.EAFNOSUPPORT, "no")
        return two

    monkeypatch.setattr(module, "_open", open_ipv4)
    with one:
        async with trio.open_nursery() as nursery:
            await nursery.start(IcmpListener(Inbox()).run, True)
            nursery.cancel_scope.cancel()
        assert two.fileno() == -1
