"""The clear-text guard in a real kernel: what reaches the wire, and what becomes of the policies."""

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import trio

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.core.notices import GuardRestored, Notice
from nhrpd_py.runtime.guard.guard import Guard
from nhrpd_py.runtime.guard.policies import GuardError
from nhrpd_py.runtime.netlink.xfrm import IPPROTO_ESP, Mode
from nhrpd_py.runtime.netlink.xfrm_socket import open_xfrm, read_statistics
from tools.lab import netns
from tools.lab.capture import Capture
from tools.lab.namespace import Namespace

pytestmark = pytest.mark.lab

GRE_42 = ProtectedGre(input_key=42, output_key=42, underlay="eth0")
OURS, THEIRS = "192.0.2.1", "192.0.2.2"
TUNNELS = {"gre42": 42, "gre43": 43, "grex": None}


def run(command: str, *, check: bool = True) -> str:
    done = subprocess.run(shlex.split(command), check=False, capture_output=True, text=True)
    assert not (check and done.returncode), f"{command}: {done.stderr}"
    return done.stdout


def ignored(_notice: Notice) -> None: ...


def ignored_refusal(_ifindex: int, _reason: str = "") -> None: ...


def address_of(name: str, host: int) -> str:
    subnet = {"gre42": 42, "gre43": 43, "grex": 10, "six42": 142, "six43": 143, "sixx": 110}[name]
    return f"10.0.{subnet}.{host}"


@pytest.fixture
def peer():
    """We are one end of an underlay and of some tunnels, in a namespace of our own; returns the other end's."""
    run("modprobe -aq ipv6 ip_gre ip6_gre veth xfrm_user", check=False)
    with Namespace("peer") as other, netns.of_our_own():
        run("ip link set lo up")
        run(f"ip link add eth0 type veth peer name eth0 netns {other.pid}")
        subprocess.run(["ip", "-batch", "-"], input=batch(1), text=True, check=True)
        other.run("ip", "-batch", "-", stdin=batch(2))
        yield other


def batch(number: int) -> str:
    other = 3 - number
    made = [
        f"addr add 192.0.2.{number}/24 dev eth0",
        f"addr add 2001:db8:f::{number}/64 dev eth0 nodad",
        "link set eth0 up",
    ]
    for name, key in TUNNELS.items():
        keyed = "" if key is None else f"key {key}"
        six = name.replace("gre", "six")
        ends = f"local 2001:db8:f::{number} remote 2001:db8:f::{other}"
        # the large MTU makes the outer packets fragments
        made += [
            f"link add {name} type gre {keyed} local 192.0.2.{number} ttl 64 nopmtudisc ignore-df",
            f"link set {name} up arp on mtu 3000",
            f"addr add {address_of(name, number)}/24 dev {name}",
            f"neigh add {address_of(name, other)} dev {name} lladdr 192.0.2.{other} nud permanent",
            f"link add {six} type ip6gre {keyed} {ends} ttl 64 encaplimit none",
            f"link set {six} up",
            f"addr add {address_of(six, number)}/24 dev {six}",
        ]
    return "".join(f"{command}\n" for command in made)


def reaches(name: str, size: int = 56) -> bool:
    command = f"ping -n -c 2 -i 0.2 -W 0.5 -M dont -s {size} {address_of(name, 2)}"
    return " 0% packet loss" in run(command, check=False)


def shown() -> list[str]:
    """The policies as `ip xfrm policy` shows them, each on one line."""
    text = run("ip xfrm policy").replace("\n\t", " ").replace(" \n", "\n")
    return sorted(" ".join(line.split()) for line in text.splitlines())


def guard_shown(key: int, wildcard: str = "0.0.0.0/0") -> list[str]:
    return [
        f"src {wildcard} dst {wildcard} proto gre key {key} dir {direction} action block "
        "priority 1000000 ptype main"
        for direction in ("in", "out")
    ]


@pytest.fixture
def guard(peer):
    made = Guard(ignored, ignored_refusal, ignored_refusal)
    yield made
    close(made)


def close(guard: Guard) -> None:
    """Without trio, which `Guard.close` needs."""
    if guard._policies._xfrm is not None:
        guard._policies._xfrm._socket._socket.close()


def wire(peer: Namespace, path: Path, expression: str = "ip proto 47 or ip6 proto 47") -> Capture:
    return Capture(peer, "eth0", path / f"{time.monotonic_ns()}.pcap", expression)


def test_clear_gre_of_the_tunnel_stays_off_the_wire_and_out_of_the_tunnel(peer, guard, tmp_path):
    assert all(reaches(name) for name in TUNNELS)
    guard.protect("gre42", 7, GRE_42)
    assert shown() == guard_shown(42)
    before = read_statistics()
    with wire(peer, tmp_path) as seen:
        assert not reaches("gre42")
        assert not reaches("gre42", size=2500)
        assert reaches("gre43")
        assert reaches("grex")
    sent = [packet for packet in seen.packets() if packet.outer_source == OURS]
    assert {packet.gre_key for packet in sent} == {43, None}
    assert read_statistics()["XfrmOutPolBlock"] - before["XfrmOutPolBlock"] == 4


@pytest.mark.parametrize("size", [56, 2500])
def test_clear_gre_that_arrives_is_dropped_also_in_fragments(peer, guard, tmp_path, size):
    guard.protect("gre42", 7, GRE_42)
    before, seen_before = read_statistics(), received("gre42")
    with wire(peer, tmp_path) as seen:
        result = peer.run(
            *f"ping -n -c 3 -i 0.2 -W 0.5 -M dont -s {size} {address_of('gre42', 1)}".split(),
            check=False,
        )
    assert "3 packets transmitted, 0 received" in result
    assert len([p for p in seen.packets() if p.outer_source == THEIRS]) >= 3
    assert not [p for p in seen.packets() if p.outer_source == OURS]
    assert received("gre42") == seen_before
    assert read_statistics()["XfrmInPolBlock"] - before["XfrmInPolBlock"] == 3


def received(name: str) -> int:
    return int(json.loads(run(f"ip -j -s link show {name}"))[0]["stats64"]["rx"]["packets"])


def test_the_same_over_ipv6(peer, guard, tmp_path):
    assert all(reaches(name) for name in ("six42", "six43", "sixx"))
    guard.protect("six42", 7, ProtectedGre(ipv6=True, input_key=42, output_key=42))
    assert shown() == guard_shown(42, "::/0")
    with wire(peer, tmp_path) as seen:
        assert not reaches("six42")
        assert reaches("six43")
        assert reaches("sixx")
        assert reaches("gre42")
        peer.ping(address_of("six42", 1), count=2, wait_s=0.5)
    six = [p for p in seen.packets() if p.outer_source == "2001:db8:f::1"]
    assert {packet.gre_key for packet in six} == {43, None}


def test_a_tunnel_without_key_is_protected_and_no_other(peer, guard, tmp_path):
    # What was sent before the guard stood waits for the underlay's neighbours, and must be gone.
    assert all(reaches(name) for name in ("grex", "sixx"))
    guard.protect("grex", 7, ProtectedGre())
    guard.protect("sixx", 7, ProtectedGre(ipv6=True))
    with wire(peer, tmp_path) as seen:
        assert not reaches("grex")
        assert not reaches("sixx")
        assert reaches("gre42")
        assert reaches("six43")
        for name in ("grex", "sixx"):
            assert peer.ping(address_of(name, 1), count=2, wait_s=0.5).received == 0
    ours = (OURS, "2001:db8:f::1")
    assert None not in {p.gre_key for p in seen.packets() if p.outer_source in ours}


def test_traffic_flows_under_an_association_and_stops_with_it(peer, guard, tmp_path):
    guard.protect("gre42", 7, GRE_42)
    for where in (run, lambda command: peer.run(*shlex.split(command))):
        for spi, (source, destination) in ((1, (OURS, THEIRS)), (2, (THEIRS, OURS))):
            where(
                f"ip xfrm state add src {source} dst {destination} proto esp spi {spi} reqid 1 "
                f"mode transport enc cipher_null ''"
            )
    for one, two, where in (
        (OURS, THEIRS, run),
        (THEIRS, OURS, lambda command: peer.run(*shlex.split(command))),
    ):
        for source, destination, direction in ((one, two, "out"), (two, one, "in")):
            where(
                f"ip xfrm policy add src {source}/32 dst {destination}/32 proto gre dir {direction} "
                f"priority 366975 tmpl src {source} dst {destination} proto esp reqid 1 mode transport"
            )
    with wire(peer, tmp_path, "host 192.0.2.1") as seen:
        assert reaches("gre42")
    assert {packet.is_esp for packet in seen.packets()} == {True}
    link = open_xfrm()
    states = [state for state in link.states() if state.destination == parse_address(THEIRS)]
    assert [(s.spi, s.protocol, s.mode) for s in states] == [(1, IPPROTO_ESP, Mode.TRANSPORT)]
    assert states[0].packets == 2
    assert [p.templates[0].reqid for p in link.policies() if p.templates] == [1, 1]
    link._socket._socket.close()
    run("ip xfrm state flush")
    run(f"ip xfrm policy delete src {OURS}/32 dst {THEIRS}/32 proto gre dir out")
    run(f"ip xfrm policy delete src {THEIRS}/32 dst {OURS}/32 proto gre dir in")
    with wire(peer, tmp_path) as seen:
        assert not reaches("gre42")
    assert not [p for p in seen.packets() if p.outer_source == OURS]


def in_a_child(deed) -> int:
    """Runs it in a process of its own; returns its wait status."""
    child = os.fork()
    if not child:
        try:
            os._exit(deed())
        finally:
            os._exit(99)
    return os.waitpid(child, 0)[1]


def test_policies_survive_a_daemon_that_is_killed_and_the_next_one_knows_them(peer, guard):
    def daemon() -> int:
        Guard(ignored, ignored_refusal, ignored_refusal).protect("gre42", 7, GRE_42)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert in_a_child(daemon) == signal.SIGKILL
    assert shown() == guard_shown(42)
    assert not reaches("gre42")
    guard.configure({"gre42"})
    assert len(guard.policies()) == 2
    guard.protect("gre42", 7, GRE_42)
    assert shown() == guard_shown(42)
    guard.configure(())
    assert shown() == []
    assert reaches("gre42")


def test_leftovers_go_but_policies_of_others_stay(peer, guard):
    guard.protect("gre42", 7, GRE_42)
    run("ip xfrm policy add dir out proto gre key 7 action block priority 599743")
    run("ip xfrm policy add dir fwd proto gre key 42 action block priority 1000000")
    after = Guard(ignored, ignored_refusal, ignored_refusal)
    after.configure(())
    assert [line.split("proto ")[1].split(" action")[0] for line in shown()] == [
        "gre key 42 dir fwd",
        "gre key 7 dir out",
    ]
    close(after)


def test_the_policies_of_a_new_key_stand_when_the_old_ones_go(peer, guard):
    guard.protect("gre42", 7, GRE_42)
    guard.protect("gre42", 7, ProtectedGre(input_key=43, output_key=43))
    assert shown() == guard_shown(43)


def test_without_the_right_to_it_the_tunnel_is_refused(peer):
    def nobody() -> int:
        os.setuid(65534)
        try:
            Guard(ignored, ignored_refusal, ignored_refusal).protect("gre42", 7, GRE_42)
        except GuardError as error:
            return 0 if str(error) == "no clear-text guard: CAP_NET_ADMIN is missing" else 2
        return 3

    assert in_a_child(nobody) == 0
    assert shown() == []


@pytest.mark.parametrize("setting", ["disable_xfrm", "disable_policy"])
def test_a_kernel_that_skips_all_policies_is_found_out(peer, guard, setting):
    guard.protect("gre42", 7, GRE_42)
    run(f"sysctl -qw net.ipv4.conf.eth0.{setting}=1")
    if setting == "disable_xfrm":
        run("ip xfrm policy delete dir in proto gre key 42")
        assert reaches("gre42"), "else the check is not needed"
    with pytest.raises(GuardError, match=f"sysctl -w net/ipv4/conf/eth0/{setting}=0"):
        guard.protect("gre42", 7, GRE_42)
    run(f"sysctl -qw net.ipv4.conf.eth0.{setting}=0")
    guard.protect("gre42", 7, GRE_42)


async def test_a_flush_is_mended_at_once(peer, tmp_path):
    notices: list[Notice] = []
    guard = Guard(notices.append, ignored_refusal, ignored_refusal)
    guard.protect("gre42", 7, GRE_42)
    async with trio.open_nursery() as nursery:
        await nursery.start(guard.run)
        await until(lambda: guard.counters["audits"] > 0)
        times = []
        for _ in range(10):
            run("ip xfrm policy flush")
            began = time.monotonic()
            await until(lambda: len(guard.policies()) == 2)
            times.append(time.monotonic() - began)
        await until(lambda: len(notices) == 20)
        print(f"the guard stands again {max(times) * 1e3:.1f} ms after a flush, at most of 10")
        assert max(times) < 0.5
        run("ip xfrm policy update dir out proto gre key 42 action allow priority 5")
        await until(lambda: shown() == guard_shown(42))
        run("ip xfrm policy delete dir in proto gre key 42")
        await until(lambda: shown() == guard_shown(42))
        await until(lambda: guard.counters["restored"] == 22)
        nursery.cancel_scope.cancel()
    assert {type(notice) for notice in notices} == {GuardRestored}
    assert shown() == guard_shown(42)


async def until(condition) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 (the kernel is asked)
            await trio.sleep(0.001)


def test_thousands_of_policies_are_read_whole(peer, guard):
    lines = "".join(
        f"xfrm policy add src 192.0.2.1/32 dst 10.{n >> 8}.{n & 255}.1/32 proto gre dir out "
        f"priority 366975 tmpl proto esp reqid {n + 1} mode transport\n"
        for n in range(3000)
    )
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    guard.protect("gre42", 7, GRE_42)
    began = time.monotonic()
    assert len(guard.policies()) == 2
    print(f"3000 policies read in {(time.monotonic() - began) * 1e3:.0f} ms")
    assert len(guard._policies.standing()) == 3002
