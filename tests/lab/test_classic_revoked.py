"""A revoked certificate takes its spoke out of the cloud; on its own, for it stays revoked."""

from tests.lab.clouds import cloud, peer, server_state, wait_ready
from tools.lab.charon import Ipsec
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered
from tools.lab.pki import Authority


def test_a_spoke_with_a_revoked_certificate_vanishes() -> None:
    own = Authority("the CA that revokes")
    with cloud({}, {}, {}, ipsec=Ipsec(authority=own)) as (_, nodes):
        wait_ready(nodes)
        revoke(own, nodes)


def revoke(own: Authority, nodes: list[ClassicNode]) -> None:
    hub, one, two = nodes
    assert one.charon.credential is not None
    own.revoke(one.charon.credential)
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
