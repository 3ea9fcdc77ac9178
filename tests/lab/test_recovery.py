"""Everything that happens to a network, and in how many seconds it works again."""

from collections.abc import Iterator

import pytest

from tests.lab.expect import our_entries, row, wait_direct, wait_one_registered, wait_registered
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode, dmvpn
from tools.lab.topology import Lab
from tools.lab.wiring import GRE_KEY, TUNNEL

HOLDING_TIME_S = 120
"""So long that nothing here recovers because a holding time or a renewal came round."""


class Trio:
    """A hub and two spokes, all ours."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        hub, one, two = lab.nodes
        assert isinstance(hub, NhrpdNode)
        assert isinstance(one, NhrpdNode)
        assert isinstance(two, NhrpdNode)
        self.hub, self.one, self.two = hub, one, two

    def heal(self) -> None:
        wait_registered(self.lab)
        self.forget_limits()
        wait_direct(self.one, self.two)

    def forget_limits(self) -> None:
        """The next redirect comes at once: neither the firewall nor the spokes remember the last."""
        for node in (self.hub, self.one, self.two):
            node.forget_shortcuts()


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    with Lab(sample_rate="60/minute") as lab:
        dmvpn(lab, hub=NhrpdNode, spokes=(NhrpdNode, NhrpdNode), holding_time_s=HOLDING_TIME_S)
        made = Trio(lab)
        made.heal()
        yield made


@pytest.fixture(autouse=True)
def working(trio: Trio) -> Iterator[None]:
    """Each test finds and leaves a network that works."""
    yield
    trio.heal()


def said(what: str, seconds: float) -> None:
    print(f"recovery: {what}: {seconds:.2f} s")


def test_a_killed_hub_keeps_forwarding_and_gets_its_clients_back(trio: Trio) -> None:
    hub, one, two = trio.hub, trio.one, trio.two
    before = our_entries(hub)
    for spoke in (one, two):
        assert spoke.flush("shortcuts")
    hub.kill()
    (hub.directory / "state.json").unlink(missing_ok=True)  # of an earlier test's clean stop
    assert our_entries(hub) == before
    assert one.ping_lan(two, count=3).lost == 0  # over the hub, whose daemon is dead
    hub.start()
    bindings = wait_until(
        lambda: [each for each in hub.cache() if each.kind == "dynamic"], 5.0, "adopted bindings"
    )
    assert {each.protocol for each in bindings} <= {one.tunnel, two.tunnel}
    assert one.ping_lan(two, count=3).lost == 0
    wait_until(
        lambda: [
            spoke for spoke in (one, two) if requests_received(hub) and is_fresh(hub, spoke.tunnel)
        ],
        10.0,
        "the clients register again although no renewal is due",
    )
    said("hub killed: clients registered again after its start", wait_registered(trio.lab))


def test_a_hub_that_is_restarted_cleanly_has_its_clients_at_once(trio: Trio) -> None:
    hub, one, two = trio.hub, trio.one, trio.two
    assert hub.stop() == 0
    assert our_entries(hub) == []
    hub.start()
    wait_until(
        lambda: {one.tunnel, two.tunnel} <= set(hub.neighbors()),
        3.0,
        "neighbours from the state file",
    )
    assert one.ping_lan(two, count=3).lost == 0
    said("hub restarted: everything registered", wait_registered(trio.lab))


def test_a_killed_hub_finds_a_client_where_it_moved_after_the_state_was_saved(trio: Trio) -> None:
    hub, one = trio.hub, trio.one
    new = "192.0.2.78"
    assert hub.stop() == 0  # saves the state
    hub.start()
    wait_registered(trio.lab)
    one.set_underlay(new)
    wait_until(lambda: nbma_at(hub, one.tunnel) == new, 5.0, "the client has moved")
    hub.kill()
    assert f'"{one.nbma}"' in (hub.directory / "state.json").read_text()
    hub.start()
    wait_until(lambda: nbma_at(hub, one.tunnel) == new, 5.0, "the kernel's word counts")
    wait_until(lambda: hub.neighbors()[one.tunnel].nbma == new, 3.0, "and it stays in the kernel")
    assert hub.lan.ping(one.lan_host, count=3).lost == 0
    one.set_underlay(one.nbma)
    wait_until(lambda: nbma_at(hub, one.tunnel) == one.nbma, 5.0, "it moves back")


def test_a_hub_that_lost_everything_learns_again_from_its_spokes(trio: Trio) -> None:
    hub, one, two = trio.hub, trio.one, trio.two
    hub.kill()
    for address in hub.neighbors():
        hub.namespace.ip(f"neighbour delete {address} dev {TUNNEL}")
    hub.namespace.ip("route flush proto 208")
    (hub.directory / "state.json").unlink(missing_ok=True)
    hub.start()
    # Nothing tells the hub who its spokes were; they come when their renewal or an error says so.
    assert one.flush("cache")
    assert two.flush("cache")
    said("hub rebooted, spokes told: registered", wait_registered(trio.lab))


def test_a_killed_spoke_takes_over_what_it_had(trio: Trio) -> None:
    one, two = trio.one, trio.two
    one.kill()
    assert one.ping_lan(two, count=3).lost == 0
    one.start()
    said("spoke killed: registered after its start", wait_registered(trio.lab))
    assert one.ping_lan(two, count=3).lost == 0


def test_a_stopped_spoke_vanishes_from_the_hub_and_leaves_nothing_behind(trio: Trio) -> None:
    hub, one = trio.hub, trio.one
    changed = settings_of(one)
    one.kill()
    one.start()  # which finds what the last run changed, and not what that one found
    wait_registered(trio.lab)
    assert settings_of(one) == changed
    assert one.stop() == 0
    assert our_entries(one) == []
    given_back = settings_of(one)
    one.delete_tunnel()
    one.make_tunnel()
    assert given_back == settings_of(one) != changed  # as of a tunnel that no daemon has seen
    wait_until(lambda: one.tunnel not in hub.neighbors(), 3.0, "the hub forgets the spoke")
    wait_until(lambda: one.tunnel not in hub.routes(), 3.0, "the hub's host route goes")
    assert hub.binding(one.tunnel) is None
    one.start()
    said("spoke restarted: registered", wait_registered(trio.lab))


@pytest.mark.parametrize("who", ["hub", "one"])
def test_a_tunnel_that_was_down_works_when_it_is_up(trio: Trio, who: str) -> None:
    node: NhrpdNode = getattr(trio, who)
    node.tunnel_down()
    wait_until(lambda: problem(node) == "the netdev is down", 5.0, "show interfaces says so")
    node.tunnel_up()
    said(f"tunnel of {node.name} down and up: registered", wait_registered(trio.lab))
    assert node.show("interfaces")[0]["problem"] is None


def test_a_new_tunnel_address_replaces_the_old_one_at_the_hub(trio: Trio) -> None:
    hub, one = trio.hub, trio.one
    new = "10.255.255.77"
    one.namespace.ip(
        f"address add {new}/32 dev {TUNNEL}", f"address delete {one.tunnel}/32 dev {TUNNEL}"
    )
    one.tunnel_up()
    wait_until(lambda: hub.binding(new, "dynamic"), 5.0, "the new address is registered")
    wait_until(lambda: hub.binding(one.tunnel) is None, 5.0, "the old address is gone")
    wait_until(lambda: new in hub.neighbors() and one.tunnel not in hub.neighbors(), 3.0, "kernel")
    one.namespace.ip(
        f"address add {one.tunnel}/32 dev {TUNNEL}", f"address delete {new}/32 dev {TUNNEL}"
    )
    one.tunnel_up()
    said("tunnel address changed back: registered", wait_registered(trio.lab))
    wait_until(lambda: hub.binding(new) is None, 5.0, "the interim address is gone")


def test_a_new_underlay_address_is_registered_at_once(trio: Trio) -> None:
    hub, one = trio.hub, trio.one
    new = "192.0.2.77"
    one.set_underlay(new)
    wait_until(lambda: nbma_at(hub, one.tunnel) == new, 5.0, "the hub knows the new NBMA address")
    assert hub.neighbors()[one.tunnel].nbma == new
    one.set_underlay(one.nbma)
    wait_until(lambda: nbma_at(hub, one.tunnel) == one.nbma, 5.0, "and the old one again")


def test_an_underlay_without_address_says_so_and_recovers(trio: Trio) -> None:
    one = trio.one
    one.namespace.ip(f"address delete {one.nbma}/24 dev eth0")
    wait_until(lambda: "no NBMA address" in str(problem(one)), 5.0, "show interfaces says so")
    one.namespace.ip(f"address add {one.nbma}/24 dev eth0")
    wait_until(lambda: problem(one) is None, 5.0, "the problem is gone")
    said("underlay address back: registered", wait_registered(trio.lab))


def test_an_underlay_that_is_gone_says_so_and_recovers_once_the_tunnel_has_another(
    trio: Trio,
) -> None:
    """An uplink that was made anew has another ifindex: the tunnel stays bound to the old one."""
    hub, one = trio.hub, trio.one
    one.namespace.ip("link add wan9 type dummy", "link set wan9 up")
    one.namespace.ip(f"tunnel change {TUNNEL} dev wan9", "link delete wan9")
    wait_until(lambda: "nothing leaves: ip tunnel change" in str(problem(one)), 5.0, "the reason")
    assert one.logged("interface.lost")
    hub.run_ctl("flush", check=False)
    remedy = str(problem(one)).partition("nothing leaves: ")[2]
    assert remedy == f"ip tunnel change {TUNNEL} dev eth0"
    one.namespace.run(*remedy.split())
    wait_until(lambda: problem(one) is None, 5.0, "the problem is gone")
    seconds = wait_registered(trio.lab)
    said("tunnel bound to an underlay again: registered", seconds)
    assert seconds < 3.0


def test_a_route_that_leads_the_tunnel_into_itself_is_called_so(trio: Trio) -> None:
    """As a routing protocol makes it of the hub's own outer network, where no `dev` binds the tunnel."""
    hub, one = trio.hub, trio.one
    one.delete_tunnel()
    one.namespace.ip(
        f"tunnel add {TUNNEL} mode gre key {GRE_KEY} ttl 64 local {one.nbma}",
        f"address add {one.tunnel}/32 dev {TUNNEL}",
        f"link set {TUNNEL} up",
        f"route add {hub.nbma}/32 via {hub.tunnel} dev {TUNNEL} onlink",
    )
    wait_until(
        lambda: f"leads into {TUNNEL} itself" in str(one.show("nhs")[0]["last_error"]),
        20.0,
        "the reason",
    )
    one.delete_tunnel()
    one.make_tunnel()
    said("route into the tunnel gone: registered", wait_registered(trio.lab))


@pytest.mark.parametrize("who", ["hub", "one"])
def test_a_netdev_that_is_made_anew_works_again(trio: Trio, who: str) -> None:
    node: NhrpdNode = getattr(trio, who)
    old = node.show("interfaces")[0]["ifindex"]
    node.delete_tunnel()
    wait_until(lambda: "no such netdev" in str(problem(node)), 5.0, "show interfaces says so")
    node.make_tunnel()
    wait_until(lambda: problem(node) is None, 5.0, "the daemon found the new netdev")
    assert node.show("interfaces")[0]["ifindex"] != old
    said(f"netdev of {node.name} made anew: registered", wait_registered(trio.lab))


def test_a_daemon_waits_for_its_netdev(trio: Trio) -> None:
    spoke = trio.lab.add(NhrpdNode(number=4, role=Role.SPOKE))
    spoke.delete_tunnel()
    spoke.start()
    assert "no such netdev" in str(problem(spoke))
    assert "no such netdev" in str(spoke.show("nhs")[0]["last_error"])
    spoke.make_tunnel()
    wait_one_registered(trio.hub, spoke)
    spoke.stop()
    trio.lab.nodes.remove(spoke)


def settings_of(node: NhrpdNode) -> str:
    """The settings of a tunnel that the daemon changes."""
    flags = node.namespace.run("ip", "-o", "link", "show", TUNNEL)
    names = [f"net.ipv4.conf.{TUNNEL}.send_redirects", "net.ipv4.conf.all.send_redirects"] + [
        f"net.{family}.neigh.{TUNNEL}.{probes}"
        for family in ("ipv4", "ipv6")
        for probes in ("app_solicit", "mcast_solicit", "ucast_solicit")
    ]
    return f"{'NOARP' in flags} {node.namespace.run('sysctl', *names)}"


def problem(node: NhrpdNode) -> object:
    return node.show("interfaces")[0]["problem"]


def nbma_at(hub: NhrpdNode, tunnel: str) -> str | None:
    binding = hub.binding(tunnel)
    return binding.nbma if binding else None


def requests_received(hub: NhrpdNode) -> object:
    return row(hub, "traffic", direction="received", type="registration-request")


def is_fresh(hub: NhrpdNode, tunnel: str) -> bool:
    found = row(hub, "cache", protocol=tunnel, type="dynamic")
    return found is not None
