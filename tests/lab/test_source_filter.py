"""Peers are held to their own inner sources, with stock charons: by nftables, and by iptables where there is no nft."""

import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nhrpd_py.cli.client import Client
from tests.lab.clouds import cloud, has_shortcut, make_shortcuts, wait_ready
from tests.lab.expect import row
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until

pytestmark = pytest.mark.timeout(400)

Nodes = list[ClassicNode]
DROP = "source-filter = true\n"
FEW = 4


PROBE = "add table inet probe; delete table inet probe"
MODULES = ("nf_tables", "nft_compat", "xt_mark", "iptable_mangle", "ip6table_mangle")


@pytest.fixture(scope="module", params=["nft", "iptables"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    subprocess.run(["modprobe", "-aq", *MODULES], check=False, capture_output=True)
    path = None
    if request.param == "iptables":
        path = str(programs_but("nft", tmp_path_factory.mktemp("bin")))
    elif subprocess.run(["nft", PROBE], check=False, capture_output=True).returncode:
        pytest.skip("this kernel has no nftables")
    with cloud({}, {}, {}, static=True, bgp=False, settings=DROP, search_path=path) as (_, nodes):
        wait_ready(nodes)
        yield nodes


def programs_but(missing: str, directory: Path) -> Path:
    """Returns a directory with all programs of this machine but one."""
    for place in map(Path, ("/usr/sbin", "/usr/bin")):
        for program in place.iterdir():
            if program.name != missing and not (directory / program.name).exists():
                (directory / program.name).symlink_to(program)
    return directory


@pytest.fixture
def nodes(built: Nodes) -> Nodes:
    _, one, two = built
    wait_ready(built)
    for node in built:
        wait_until(lambda node=node: rules(node), 20.0, f"the filter of {node.name}")  # type: ignore[misc]
    make_shortcuts(one, two)
    return built


def rules(node: ClassicNode) -> str:
    """Returns what a node's packet filter has of ours."""
    if node.search_path is None:
        return node.namespace.run("nft", "list", "table", "inet", "nhrpd-gre1", check=False)
    return "\n".join(line for line in saved(node).splitlines() if "nh-gre1" in line)


def saved(node: ClassicNode) -> str:
    """Returns the rules of iptables, of either kind, with their counters."""
    kinds = ("iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy")
    return "".join(
        node.namespace.run(f"{kind}-save", "-c", "-t", "mangle", check=False) for kind in kinds
    )


def echoes(node: ClassicNode) -> int:
    """How many echo requests have reached a node."""
    text = node.namespace.run("cat", "/proc/net/snmp")
    names, numbers = re.findall(r"^Icmp: (.*)$", text, re.MULTILINE)
    return int(dict(zip(names.split(), numbers.split(), strict=True))["InEchos"])


def arrived(thief: ClassicNode, source: str, victim: ClassicNode) -> int:
    """How many of a few pings reach a node that a host sends from an address that its site does not have."""
    thief.lan.ip(f"address add {source}/32 dev lo")
    before = echoes(victim)
    try:
        thief.lan.ping(victim.tunnel, count=FEW, wait_s=0.5, source=source)
    finally:
        thief.lan.ip(f"address del {source}/32 dev lo")
    return echoes(victim) - before


def wrong(node: ClassicNode) -> int:
    found = row(node, "interfaces", interface="gre1")
    assert found is not None
    return int(str(found["wrong_sources"]))


def settled(nodes: Nodes) -> list[int]:
    """Returns how many wrong sources nodes have counted, once what was before has been read."""
    read = [audits(node) for node in nodes]
    for node, before in zip(nodes, read, strict=True):
        # The next reading may have begun already.
        wait_until(partial(has_read, node, before + 2), 30.0, "two readings")
    return [wrong(node) for node in nodes]


def audits(node: ClassicNode) -> int:
    status = Client(str(node.socket_path)).get("/v1/status")
    return int(status["counters"]["source-filter"].get("audits", 0))


def has_read(node: ClassicNode, times: int) -> bool:
    return audits(node) >= times


def problem(node: ClassicNode) -> object:
    found = row(node, "interfaces", interface="gre1")
    return None if found is None else found["problem"]


def is_held(thief: ClassicNode, source: str, victim: ClassicNode) -> bool:
    return arrived(thief, source, victim) == 0


def test_nobody_sends_as_another_and_everybody_as_himself(nodes: Nodes) -> None:
    hub, one, two = nodes
    assert [problem(node) for node in nodes] == [None] * 3
    before = settled(nodes)
    for source in (two.lan_host, two.tunnel, "172.16.88.1"):
        assert is_held(one, source, hub), source
    assert is_held(one, hub.lan_host, two)
    assert is_held(one, "172.16.77.1", two)
    wait_until(lambda: wrong(hub) >= before[0] + 3 * FEW, 20.0, "the hub counts")
    wait_until(lambda: wrong(two) >= before[2] + 2 * FEW, 20.0, "the spoke counts")
    assert wrong(one) == before[1]
    assert hub.logged("source.doubted")
    peer = row(hub, "peers", nbma=one.nbma)
    assert peer is not None
    assert int(str(peer["wrong_sources"])) >= 3 * FEW
    assert one.ping_lan(two, count=5).lost == 0
    assert one.ping_lan(hub, count=5).lost == 0
    assert one.namespace.ping(two.tunnel, count=5, source=one.tunnel).lost == 0
    assert has_shortcut(one, two)


def test_a_shortcut_is_made_without_a_loss(nodes: Nodes) -> None:
    _, one, two = nodes
    for node in nodes:
        node.forget_shortcuts()
    before = settled(nodes)
    ping = one.lan.start_ping(two.lan_host, interval_s=0.05)
    wait_until(lambda: has_shortcut(one, two) and has_shortcut(two, one), 40.0, "shortcuts")
    assert ping.finish().lost == 0
    assert settled(nodes) == before


def test_rekeying_keeps_the_mark(nodes: Nodes) -> None:
    hub, one, two = nodes
    mark = marks(hub)[one.nbma]
    pings = [one.lan.start_ping(each.lan_host, interval_s=0.05) for each in (hub, two)]
    former = {child.spi_in for child in one.charon.children()}
    for child in one.charon.children():
        one.charon.swanctl("--rekey", "--child-id", str(child.child_id))
    wait_until(
        lambda: former.isdisjoint(child.spi_in for child in one.charon.children()), 30.0, "new SAs"
    )
    assert [ping.finish().lost for ping in pings] == [0, 0]
    assert marks(hub)[one.nbma] == mark
    assert is_held(one, two.lan_host, hub)


def marks(node: ClassicNode) -> dict[str, int]:
    return {each["nbma"]: each["mark"] for each in node.show("sas") if each["state"] == "INSTALLED"}


def test_reloads_lose_nothing_and_change_what_becomes_of_wrong_sources(nodes: Nodes) -> None:
    hub, one, two = nodes
    ping = one.lan.start_ping(hub.lan_host, interval_s=0.05)
    try:
        hub.settings = ""
        hub.reload()
        wait_until(lambda: shown(hub) == "count", 20.0, "the default")
        before = wrong(hub)
        wait_until(lambda: arrived(one, two.lan_host, hub) == FEW, 20.0, "they pass")
        wait_until(lambda: wrong(hub) >= before + FEW, 20.0, "and are counted")
        hub.settings = "source-filter = false\n"
        hub.reload()
        wait_until(lambda: not rules(hub), 20.0, "no filter")
    finally:
        hub.settings = DROP
        hub.reload()
    wait_until(lambda: is_held(one, two.lan_host, hub), 20.0, "the filter is there again")
    assert ping.finish().lost == 0
    assert problem(hub) is None


def shown(node: ClassicNode) -> object:
    found = row(node, "interfaces", interface="gre1")
    return None if found is None else found["source_filter"]


def test_who_takes_the_filter_away_finds_it_back(nodes: Nodes) -> None:
    hub, one, two = nodes
    ping = one.lan.start_ping(hub.lan_host, interval_s=0.05)
    if hub.search_path is None:
        hub.namespace.run("nft", "flush", "ruleset")
    else:
        for kind in ("iptables", "iptables-legacy"):
            hub.namespace.run(kind, "-t", "mangle", "-F", check=False)
    wait_until(lambda: hub.logged("filter.restored"), 20.0, "it is noticed")
    wait_until(lambda: is_held(one, two.lan_host, hub), 20.0, "it is there again")
    assert ping.finish().lost == 0


def dropped(node: ClassicNode) -> int:
    """Returns how many packets the kernel has dropped for their source since the filter was written."""
    if node.search_path is None:
        found = re.findall(r"counter packets (\d+) bytes \d+ drop", rules(node))
    else:
        found = re.findall(r"\[(\d+):\d+\] -A nh-gre1:\w+ -j DROP", saved(node))
    return sum(map(int, found))


def test_a_daemon_that_is_killed_leaves_the_filter_and_the_next_one_takes_it_over(
    nodes: Nodes,
) -> None:
    hub, one, two = nodes
    pings = [one.lan.start_ping(each.lan_host, interval_s=0.05) for each in (hub, two)]
    for node in (hub, two):
        make_shortcuts(one, two)
        before = dropped(node)
        node.kill()
        assert one.ping_lan(hub, count=5).lost == one.ping_lan(two, count=5).lost == 0
        assert dropped(node) == before
        node.start()
        wait_ready(nodes)
        assert one.ping_lan(hub, count=5).lost == one.ping_lan(two, count=5).lost == 0
        assert (dropped(node), wrong(node)) == (0, 0)
    for ping in pings:
        ping.stop()
    hub.kill()
    assert is_held(one, two.lan_host, hub)
    hub.start()
    wait_until(lambda: is_held(one, two.lan_host, hub), 30.0, "the next one holds it as well")


def test_after_a_restart_of_charon_the_new_sas_are_held_too(nodes: Nodes) -> None:
    hub, one, two = nodes
    before = settled(nodes)
    hub.charon.restart()
    for spoke in (one, two):
        wait_until(lambda spoke=spoke: spoke.ping_lan(hub).lost == 0, 60.0, "it is back")  # type: ignore[misc]
    assert settled(nodes) == before, "only what comes out of no SA may be lost"
    # What a daemon that was killed allowed for a mark stays for a minute.
    wait_until(lambda: is_held(one, two.lan_host, hub), 90.0, "the hub knows the new marks")
    assert is_held(two, one.lan_host, hub)


def test_a_charon_that_is_killed_gives_the_marks_of_its_sas_away_again(nodes: Nodes) -> None:
    hub, one, two = nodes
    before = settled([hub])
    ping = one.lan.start_ping(hub.lan_host, interval_s=0.05)
    hub.charon.kill()
    hub.charon.start()
    for child in two.charon.children(hub.nbma):
        two.charon.swanctl("--terminate", "--ike-id", str(child.ike_id), "--force", check=False)
    wait_until(lambda: two.nbma in marks(hub), 60.0, "a new SA with one spoke")
    assert {each["nbma"] for each in hub.show("sas") if each["state"] == "orphaned"} == {one.nbma}
    wait_until(lambda: two.ping_lan(hub).lost == 0, 30.0, "that spoke is back")
    assert two.ping_lan(hub, count=5).lost == 0
    assert ping.finish().lost == 0
    assert settled([hub]) == before
    assert is_held(two, "172.16.77.1", hub)


def test_a_clean_stop_leaves_nothing(nodes: Nodes) -> None:
    hub, _, _ = nodes
    assert rules(hub)
    assert hub.stop() == 0
    assert not rules(hub)
    assert "nhrpd" not in hub.namespace.run("nft", "list", "tables", check=False)
    hub.start()
