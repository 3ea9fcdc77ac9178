"""Tunnels as the kernel store finds and prepares them."""

import contextlib
import errno
import json
import socket
import struct
import subprocess

import pytest

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.effects import (
    OpenInterface,
    SetNeighbor,
)
from nhrpd_py.core.events import (
    InterfaceRefused,
    KernelRefused,
    LinkChanged,
)
from nhrpd_py.runtime.netlink import rtnl
from tests.lab.kernel_store import NBMA, PEER, Store, neighbors, read, run

pytestmark = pytest.mark.lab


@contextlib.contextmanager
def read_only_settings():
    """/proc/sys as systemd's ProtectKernelTunables= leaves it."""
    run("mount --bind /proc/sys /proc/sys")
    try:
        run("mount -o remount,bind,ro /proc/sys")
        yield
    finally:
        run("umount /proc/sys")


async def test_a_link_is_prepared_without_a_write_below_proc_sys(gre):
    run("sysctl -qw net.ipv4.conf.all.send_redirects=1 net.ipv4.conf.gre1.send_redirects=1")
    with read_only_settings():
        with pytest.raises(subprocess.CalledProcessError):
            run("sysctl -qw net.ipv4.conf.all.send_redirects=0")
        async with Store().running() as store:
            await store.open(gre)
            store.kernel.set_neighbor(SetNeighbor(gre, PEER, NBMA))
            assert await store.kernel.settle(2)
            await store.until(lambda: "10.255.0.2" in neighbors(), "a neighbour")
            assert "NOARP" not in json.loads(run("ip -j link show gre1"))[0]["flags"]
            for family in ("ipv4", "ipv6"):
                for name, value in (("app_solicit", 1), ("mcast_solicit", 0), ("ucast_solicit", 0)):
                    assert read(f"/proc/sys/net/{family}/neigh/gre1/{name}") == str(value)
            assert read("/proc/sys/net/ipv4/conf/gre1/send_redirects") == "0"
            assert read("/proc/sys/net/ipv4/conf/all/send_redirects") == "1"
            assert not store.of(InterfaceRefused)
            problem = (
                "hosts behind this one get ICMP redirects that lead nowhere, for "
                "net.ipv4.conf.all.send_redirects cannot be cleared (Read-only file system): "
                "sysctl -w net.ipv4.conf.all.send_redirects=0"
            )
            assert [notice.problem for notice in store.notices] == [problem]
            assert store.kernel.problems == {"send_redirects": problem}
    async with Store().running() as store:  # where it may be written, it is
        await store.open(gre)
        await store.until(
            lambda: read("/proc/sys/net/ipv4/conf/all/send_redirects") == "0", "the setting"
        )
        assert not store.kernel.problems


def test_netlink_cannot_set_what_belongs_to_all_links(gre):
    """The reason for the file below /proc/sys: when this fails, the kernel has learnt something."""
    newnetconf = struct.pack("=IHHIIB3xHHiHHi", 36, 80, 5, 1, 0, socket.AF_INET, 8, 1, -1, 8, 2, 1)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.settimeout(2)
        link.send(newnetconf)
        assert struct.unpack_from("=i", link.recv(4096), 16) == (-errno.EOPNOTSUPP,)
        for ifindex in (-1, 0):
            payload = rtnl.stop_redirects(1)
            payload = payload[:4] + struct.pack("=i", ifindex) + payload[8:]
            link.send(struct.pack("=IHHII", 16 + len(payload), rtnl.RTM_SETLINK, 5, 2, 0) + payload)
            assert struct.unpack_from("=i", link.recv(4096), 16) == (-errno.EINVAL,)


async def test_opening_a_link_that_is_gone_is_refused(gre):
    async with Store().running() as store:
        store.kernel.open_interface(OpenInterface(4711, "gone"))
        await store.until(lambda: store.of(InterfaceRefused), "a refusal")
        assert store.of(InterfaceRefused)[0].error == "clear NOARP: No such device"


async def test_an_ipv6_underlay_has_long_link_layer_addresses(gre):
    run("ip link add gre6 type ip6gre local 2001:db8:f::1 key 42")
    run("ip link set gre6 up")
    ifindex, nbma = socket.if_nametoindex("gre6"), parse_address("2001:db8:f::2")
    async with Store().running() as store:
        await store.open(ifindex)
        link = next(event for event in store.of(LinkChanged) if event.ifindex == ifindex)
        assert link.gre is not None
        assert (link.gre.local, link.gre.key) == (parse_address("2001:db8:f::1"), 42)
        store.kernel.set_neighbor(SetNeighbor(ifindex, PEER, nbma))
        assert await store.kernel.settle(2)
        rows = json.loads(run("ip -j neigh show dev gre6"))
        assert [row["lladdr"] for row in rows if row["dst"] == "10.255.0.2"] == ["2001:db8:f::2"]
        assert not store.of(KernelRefused)


async def test_tunnels_that_cannot_serve_are_told_apart(gre):
    for command in (
        "ip link add gre6 type ip6gre local 2001:db8:f::1 key 42",
        "ip link add gre-ext type gre external",
        "ip link add vrf1 type vrf table 100",
        "ip link set gre1 master vrf1",
    ):
        run(command)
    async with Store().running() as store:
        links = {each.name: each for each in store.of(LinkChanged)}
        assert (links["gre1"].vrf, links["gre6"].vrf) == (True, False)
        defects = {name: each.gre.defect or "" for name, each in links.items() if each.gre}
        assert defects["gre1"] == ""
        assert "multipoint ip6gre" in defects["gre6"]
        assert "external" in defects["gre-ext"]
        run("ip link set gre1 nomaster")
        await store.until(lambda: not store.of(LinkChanged)[-1].vrf, "its way out")
