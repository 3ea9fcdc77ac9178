"""The packet sockets and NFLOG against a real kernel."""

import contextlib
import json
import socket
import subprocess
import time
from typing import Any

import pytest
import trio

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.events import (
    PacketReceived,
    TrafficSeen,
)
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.netlink.nflog import Nflog, NflogError
from nhrpd_py.runtime.packets import PacketSockets
from tests.lab.kernel_store import NBMA, run

pytestmark = pytest.mark.lab


async def test_packets_go_out_and_come_in_by_outer_address(gre):
    """Two tunnels of one namespace talk over the loopback of their addresses."""
    inbox = Inbox()
    sockets = PacketSockets(inbox)
    run("ip addr add 192.0.2.2/24 dev eth0")
    run("ip link add gre2 type gre key 42 ttl 64 local 192.0.2.2")
    run("ip link set gre2 up")
    other = socket.if_nametoindex("gre2")
    async with trio.open_nursery() as nursery:
        await nursery.start(sockets.run)
        sockets.open(gre)
        sockets.open(other)
        for number in range(100):
            sockets.send(gre, NBMA, b"packet %d" % number)
        received: list[Any] = []

        async def take() -> list[Any]:
            return list(await inbox.take())

        with trio.fail_after(3):
            while len(received) < 100:
                received += await inbox.take()
        assert received[0] == PacketReceived(other, parse_address("192.0.2.1"), b"packet 0")
        assert [event.data for event in received] == [b"packet %d" % n for n in range(100)]
        run("ip link set gre2 down")
        await trio.sleep(0.1)
        run("ip link set gre2 up")
        sockets.send(gre, NBMA, b"again")
        with trio.fail_after(3):
            assert [e.data for e in await take()] == [b"again"]
        run("ip link del gre2")
        await trio.sleep(0.1)
        sockets.send(other, NBMA, b"nowhere")
        sockets.close(other)
        sockets.send(other, NBMA, b"nowhere")
        assert sockets.counters["received"] == 101
        assert sockets.counters["sent"] == 101
        nursery.cancel_scope.cancel()


async def test_linux_sends_nothing_through_a_multipoint_ip6gre(gre):
    """Why `netlink.rtnl` calls it a defect. A kernel that fails this test has none."""
    run("ip addr add 2001:db8:f::1/64 dev eth0 nodad")
    run("ip link add gre6 type ip6gre local 2001:db8:f::1 key 42")
    run("ip link set gre6 up")
    sockets = PacketSockets(Inbox())
    ifindex = socket.if_nametoindex("gre6")
    sockets.open(ifindex)
    for _ in range(5):
        sockets.send(ifindex, parse_address("2001:db8:f::2"), b"packet")
    sockets.close(ifindex)
    assert sockets.counters["sent"] == 5
    counted = json.loads(run("ip -j -s link show gre6"))[0]["stats64"]["tx"]
    assert (counted["packets"], counted["errors"]) == (0, 5)


async def test_nflog_samples_arrive_at_once(gre):
    inbox = Inbox()
    with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):
        run("modprobe -a nfnetlink_log xt_NFLOG iptable_filter")
    run("iptables-legacy -A OUTPUT -o lo -p udp --dport 9 -j NFLOG --nflog-group 7")
    nflog = Nflog(inbox)
    async with trio.open_nursery() as nursery:
        await nursery.start(nflog.run, 7)
        with pytest.raises(NflogError, match="NFLOG group 7 cannot be bound: another program"):
            await Nflog(inbox).run(7)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            begun = time.monotonic()
            probe.sendto(bytes(400), ("127.0.0.1", 9))
            with trio.fail_after(2):
                batch = await inbox.take()
            waited = time.monotonic() - begun
        sample = batch[0]
        assert isinstance(sample, TrafficSeen)
        assert (sample.in_ifindex, sample.out_ifindex) == (0, socket.if_nametoindex("lo"))
        assert len(sample.data) == 128
        assert sample.data[:1] == b"\x45"
        assert waited < 0.1
        nursery.cancel_scope.cancel()
