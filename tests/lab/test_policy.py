"""Who may claim what, with stock charons: rules for authenticated identities."""

from collections.abc import Iterator

import pytest

from tests.lab.clouds import cloud, make_shortcuts, server_state, wait_ready
from tests.lab.expect import row
from tools.lab.classic import ClassicNode
from tools.lab.namespace import stop, wait_until

pytestmark = pytest.mark.timeout(400)

Nodes = list[ClassicNode]


def rules(*numbers: int) -> str:
    """The hub may claim anything, these spokes what is theirs, and nobody else anything."""
    text = '[[interface.gre1.authorize]]\nidentity = "hub1.vpn.example"\n'
    for number in numbers:
        text += (
            "[[interface.gre1.authorize]]\n"
            f'identity = "spoke{number}.vpn.example"\n'
            f'protocol = ["10.255.255.{number}"]\n'
            f'prefixes = ["172.16.{number}.0/24"]\n'
        )
    return text


@pytest.fixture(scope="module")
def built() -> Iterator[Nodes]:
    with cloud({}, {}, {}, static=True, bgp=False, extra=rules(2, 3), holding_time_s=24) as (
        _,
        nodes,
    ):
        yield nodes


@pytest.fixture
def nodes(built: Nodes) -> Nodes:
    wait_ready(built)
    return built


def test_identities_are_shown(nodes: Nodes) -> None:
    hub, one, two = nodes
    make_shortcuts(one, two)
    for view, key in (("cache", {"protocol": two.tunnel}), ("peers", {"nbma": two.nbma})):
        for node in (hub, one):
            shown = row(node, view, **key)
            assert shown is not None
            assert shown["identity"] == two.identity
    shortcut = row(one, "shortcuts", prefix=two.lan_prefix)
    assert shortcut is not None
    assert shortcut["identity"] == two.identity


def test_a_spoke_that_registers_anothers_address_is_refused(nodes: Nodes) -> None:
    hub, one, thief = nodes
    rightful = hub.binding(one.tunnel)
    ping = one.namespace.start_ping(hub.tunnel, interval_s=0.1, source=one.tunnel)
    thief.namespace.ip(
        f"address add {one.tunnel}/32 dev gre1", f"address del {thief.tunnel}/32 dev gre1"
    )
    try:
        words = f"{thief.identity} is not authorized for {one.tunnel}"
        wait_until(lambda: hub.logged(words), 30.0, "the hub says what it refused")
        told = wait_until(
            lambda: [each for each in thief.show("nhs") if each["last_error"]],
            30.0,
            "the thief is told",
        )
        assert "ADMINISTRATIVELY_PROHIBITED" in told[0]["last_error"]
        assert hub.binding(one.tunnel) == rightful
        assert hub.neighbors()[one.tunnel].nbma == one.nbma
    finally:
        thief.namespace.ip(
            f"address add {thief.tunnel}/32 dev gre1", f"address del {one.tunnel}/32 dev gre1"
        )
    assert ping.finish().lost == 0


def test_a_network_that_is_not_the_peers_stays_behind_the_hub(nodes: Nodes) -> None:
    hub, one, thief = nodes
    stolen = "172.16.99.0/24"
    hub.namespace.ip(f"route replace {stolen} via {thief.tunnel} dev gre1 onlink")
    thief.namespace.ip("link add stolen type dummy", "link set stolen up")
    thief.namespace.ip("address add 172.16.99.1/24 dev stolen")
    try:
        words = f"{thief.identity} is not authorized for {stolen}"

        def refused() -> list[str]:
            one.lan.ping("172.16.99.1", count=1)
            return one.logged(words)

        wait_until(refused, 40.0, "the spoke that asked says what it refused")
        assert one.lan.ping("172.16.99.1", count=3).lost == 0  # over the hub
        assert stolen not in one.routes()
        assert hub.binding(thief.tunnel, "dynamic") is not None
    finally:
        thief.namespace.ip("link del stolen")
        hub.namespace.ip(f"route del {stolen}")


def test_a_reload_takes_away_what_is_no_longer_allowed_and_nothing_else(nodes: Nodes) -> None:
    hub, one, two = nodes
    make_shortcuts(one, two)
    ping = one.namespace.start_ping(hub.tunnel, interval_s=0.1, source=one.tunnel)
    news = hub.directory / "monitor.txt"
    monitor = hub.namespace.popen("ip", "monitor", "neigh", "route", log=news)
    hub.extra = rules(2)
    try:
        hub.reload()
        wait_until(lambda: hub.binding(two.tunnel) is None, 20.0, "the hub forgets the spoke")
        wait_until(lambda: two.tunnel not in hub.routes(), 5.0, "and its route")
        wait_until(lambda: server_state(two) != "up", 60.0, "the spoke knows")
    finally:
        hub.extra = rules(2, 3)
        hub.reload()
    assert ping.finish().lost == 0
    stop(monitor)
    assert two.tunnel in news.read_text()
    assert one.tunnel not in news.read_text()
    wait_ready(nodes)
    make_shortcuts(one, two)
