"""ICMP errors of a real kernel, of both families: what it answers to GRE that nobody takes."""

import contextlib
import socket
from collections.abc import Iterator

import pytest
import trio

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.events import Obstacle, OuterProtocol, PacketUndelivered
from nhrpd_py.runtime.icmp.listener import IcmpListener
from nhrpd_py.runtime.inbox import Inbox
from tests.lab.kernel_store import run

pytestmark = pytest.mark.lab

KEYED = bytes.fromhex("20002001 0000002b") + bytes(20)
"""GRE with key 43, of NHRP."""
GRE = 47
FLOOD = 2000


@contextlib.contextmanager
def a_sender(family: int, source: str) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_RAW, GRE) as sock:
        sock.bind((source, 0))
        yield sock


@pytest.mark.parametrize(
    ("family", "local", "remote"),
    [
        (socket.AF_INET, "192.0.2.1", "198.51.100.9"),
        (socket.AF_INET6, "2001:db8::1", "2001:db8::9"),
    ],
    ids=["ipv4", "ipv6"],
)
async def test_an_error_about_gre_is_told_and_others_are_not(
    gre: int, family: int, local: str, remote: str
) -> None:
    """Both addresses are this machine's, which has no tunnel with key 43."""
    length = 32 if family == socket.AF_INET else 128
    for address in (local, remote):
        with contextlib.suppress(Exception):
            run(f"ip addr add {address}/{length} dev lo")
    inbox = Inbox()
    listener = IcmpListener(inbox)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run, True)
        with socket.socket(family, socket.SOCK_DGRAM) as nobody_listens:
            for _ in range(FLOOD):
                with contextlib.suppress(OSError):
                    nobody_listens.sendto(b"?", (remote, 9))
        with a_sender(family, local) as sender, trio.fail_after(20):
            while not len(inbox):  # the kernel limits its errors; the flood used them up
                sender.sendto(KEYED, (remote, 0))
                await trio.sleep(0.5)
        (event,) = await inbox.take()
        assert event == PacketUndelivered(
            local=parse_address(local),
            remote=parse_address(remote),
            protocol=OuterProtocol.GRE,
            key=43,
            obstacle=Obstacle.NO_PORT if family == socket.AF_INET else event.obstacle,  # type: ignore[union-attr]
            reporter=parse_address(remote),
        )
        nursery.cancel_scope.cancel()
    assert 1 <= listener.counters["errors"] < 40  # of ours alone
    assert listener.counters["malformed"] == 0
