"""The classic DMVPN when charon restarts, a hub is switched off and on, or a certificate is revoked."""

from collections.abc import Iterator

import pytest

from tests.lab.clouds import (
    cloud,
    make_shortcuts,
    peer,
    server_state,
    timed,
    wait_ready,
)
from tools.lab.charon import Ipsec
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered
from tools.lab.pki import Authority

Nodes = list[ClassicNode]
AUTHORITY = "the CA that revokes"


@pytest.fixture(scope="module")
def built() -> Iterator[Nodes]:
    own = Authority(AUTHORITY)
    with cloud({}, {}, {}, ipsec=Ipsec(authority=own)) as (_, nodes):
        yield nodes


@pytest.fixture
def nodes(built: Nodes) -> Nodes:
    wait_ready(built)
    return built


def forwards(one: ClassicNode, two: ClassicNode) -> bool:
    return one.ping_lan(two).received == 1


def test_charon_restarted_on_the_hub(nodes: Nodes) -> None:
    hub, one, two = nodes
    hub.charon.restart()
    seconds = timed(
        lambda: all(server_state(node) == "up" and registered(hub, node) for node in (one, two)),
        60.0,
        "both spokes are registered again",
    )
    wait_until(lambda: forwards(one, two), 40.0, "traffic between the LANs")
    print(f"registered again {seconds:.1f} s after charon of the hub was restarted")


def test_charon_restarted_on_a_spoke(nodes: Nodes) -> None:
    hub, one, two = nodes
    make_shortcuts(one, two)
    one.charon.restart()
    seconds = timed(
        lambda: server_state(one) == "up" and registered(hub, one), 60.0, "registered again"
    )
    assert server_state(two) == "up"
    wait_until(lambda: forwards(one, two), 40.0, "traffic between the LANs")
    print(f"registered again {seconds:.1f} s after charon of the spoke was restarted")


def test_a_hub_that_is_switched_off_and_on_has_its_spokes_again(nodes: Nodes) -> None:
    hub, one, two = nodes
    hub.power_off()
    hub.power_on()
    seconds = timed(
        lambda: all(registered(hub, node) and server_state(node) == "up" for node in (one, two)),
        90.0,
        "both spokes are registered again",
    )
    wait_until(lambda: forwards(one, two), 60.0, "traffic between the LANs")
    print(f"registered again {seconds:.1f} s after the daemons of the hub stood again")


def test_a_spoke_with_a_revoked_certificate_vanishes(nodes: Nodes) -> None:
    """Last: the certificate stays revoked."""
    hub, one, two = nodes
    assert one.charon.credential is not None
    assert hub.charon.ipsec.authority is not None
    hub.charon.ipsec.authority.revoke(one.charon.credential)
    for node in nodes:
        node.charon.install_crl()
        node.charon.load_all()
    for child in hub.charon.children(one.nbma):
        hub.charon.swanctl("--terminate", "--ike-id", str(child.ike_id))
    wait_until(lambda: hub.binding(one.tunnel) is None, 20.0, "it is out of the hub's cache")
    wait_until(lambda: one.tunnel not in hub.neighbors(), 5.0, "out of the neighbours")
    wait_until(lambda: not hub.routing.established(one.tunnel), 60.0, "out of BGP")
    wait_until(
        lambda: one.lan_prefix not in two.routing.prefixes(), 30.0, "its LAN is not announced"
    )

    def told() -> bool:
        shown = peer(one, hub)
        return shown is not None and "AUTHENTICATION_FAILED" in str(shown["last_error"])

    wait_until(told, 60.0, "the spoke is told why")
    assert server_state(one) != "up"
    assert server_state(two) == "up"
    assert registered(hub, two)
