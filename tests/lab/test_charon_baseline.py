"""The lab itself, proved without NHRP: stock charons, and BGP over neighbours set by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tools.lab.charon import Charon, Ipsec
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until
from tools.lab.pki import Authority, Key, authority
from tools.lab.topology import Lab, Node, Role

NHRPD_PROTOCOL = 208


def cloud(lab: Lab, *options: dict[str, Any]) -> list[ClassicNode]:
    """Hub 1 and spokes 2, 3…, each with its options, and everything but nhrpd started."""
    roles = [Role.HUB, *[Role.SPOKE] * (len(options) - 1)]
    nodes = [
        lab.add(ClassicNode(number=number, role=role, **each))
        for number, (role, each) in enumerate(zip(roles, options, strict=True), start=1)
    ]
    for node in nodes:
        node.start_services()
    return nodes


def introduce(one: Node, two: Node) -> None:
    """Does by hand what nhrpd does for two nodes that are to talk directly."""
    for node, peer in ((one, two), (two, one)):
        node.namespace.ip(
            f"neigh replace {peer.tunnel} lladdr {peer.nbma} nud permanent dev gre1",
            f"route replace {peer.tunnel} dev gre1 proto {NHRPD_PROTOCOL} metric 10",
        )


def load_clone(charon: Charon, local: str, remote: str) -> str:
    """Loads the connection of swanctl.conf for one peer and returns its name."""
    name = f"nhrp-{remote}"
    child = {
        "esp_proposals": ["aes256-sha512-ecp384"],
        "local_ts": ["dynamic[gre]"],
        "remote_ts": ["dynamic[gre]"],
        "mode": "transport",
    }
    here: dict[str, object] = {"auth": "psk", "id": charon.identity}
    if charon.credential is not None:
        certificate = charon.credential.certificate.read_bytes()
        here |= {"auth": "pubkey", "certs": [certificate]}
    connection = {
        "version": "2",
        "mobike": "no",
        "local_addrs": [local],
        "remote_addrs": [remote],
        "proposals": ["aes256-sha512-ecp384"],
        "local": here,
        "remote": {"auth": here["auth"]},
        "children": {"dmvpn": child},
    }
    charon.request("load-conn", {name: connection})
    return name


def connect(one: ClassicNode, two: ClassicNode) -> None:
    """Asks one charon for a CHILD_SA with another node; raises with charon's words without it."""
    name = load_clone(one.charon, one.nbma, two.nbma)
    one.charon.request("initiate", {"child": "dmvpn", "ike": name, "timeout": "8000"})


def refused(one: ClassicNode, two: ClassicNode) -> str:
    """Asks in vain and returns the end of the initiator's log."""
    with pytest.raises(Exception, match=r"establishing CHILD_SA 'dmvpn' failed|not established"):
        connect(one, two)
    assert one.charon.children() == []
    return one.charon.log_path.read_text()[-4000:]


def wait_announced(hub: ClassicNode, spoke: ClassicNode, other: ClassicNode) -> None:
    """Waits until a spoke has what the hub announces of another, in BGP and in its kernel."""
    wanted = {"172.16.0.0/16", other.lan_prefix, f"{other.tunnel}/32"}
    wait_until(lambda: spoke.routing.established(hub.tunnel), 30.0, f"BGP session of {spoke.name}")
    wait_until(
        lambda: (
            wanted <= {each for each, via in spoke.routing.prefixes().items() if via == hub.tunnel}
        ),
        15.0,
        f"{wanted} on {spoke.name}",
    )
    wait_until(
        lambda: (route := spoke.routes().get(other.lan_prefix)) and route.via == hub.tunnel,
        5.0,
        f"{other.lan_prefix} in the kernel of {spoke.name}",
    )


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[ClassicNode]]:
    with Lab(private_run=True, static=False) as lab:
        yield cloud(lab, {}, {}, {})


def test_a_clone_brings_up_a_child_sa_and_gre_goes_through_it(nodes: list[ClassicNode]) -> None:
    hub, spoke, _ = nodes
    introduce(hub, spoke)
    with spoke.capture(expression="ip proto 47 or ip proto 50") as wire:
        connect(spoke, hub)
        assert spoke.namespace.ping(hub.tunnel, count=3, source=spoke.tunnel).lost == 0
        packets = wait_until(lambda: wire.packets()[5:] and wire.packets(), 5.0, "six packets")
    assert all(packet.is_esp for packet in packets)
    (mine,), (theirs,) = spoke.charon.children(hub.nbma), hub.charon.children(spoke.nbma)
    assert (mine.mode, mine.remote_id) == ("TRANSPORT", hub.identity)
    assert (theirs.mode, theirs.remote_id) == ("TRANSPORT", spoke.identity)
    assert (mine.spi_in, mine.spi_out) == (theirs.spi_out, theirs.spi_in)


def test_bgp_reflects_the_lans_with_the_hub_as_next_hop(nodes: list[ClassicNode]) -> None:
    hub, one, two = nodes
    for spoke in (one, two):
        introduce(hub, spoke)
        if not spoke.charon.children(hub.nbma):
            connect(spoke, hub)
    for spoke, other in ((one, two), (two, one)):
        wait_announced(hub, spoke, other)
    with one.capture(expression="ip proto 47 or ip proto 50") as wire:
        wait_until(lambda: one.ping_lan(two).received, 10.0, "a ping over the hub")
        assert one.ping_lan(two, count=3).lost == 0
    assert {packet.is_esp for packet in wire.packets()} == {True}


def test_a_shortcut_takes_the_place_of_the_bgp_route_and_is_not_announced(
    nodes: list[ClassicNode],
) -> None:
    hub, one, two = nodes
    test_bgp_reflects_the_lans_with_the_hub_as_next_hop(nodes)
    introduce(one, two)
    shortcut = f"{two.lan_prefix} via {two.tunnel} dev gre1 onlink proto {NHRPD_PROTOCOL} metric 10"
    one.namespace.ip(f"route replace {shortcut}")
    # zebra takes its own route back: whoever watches the kernel must not think that BGP lost it.
    wait_until(
        lambda: len(one.namespace.ip_json("route", "show", two.lan_prefix)) == 1,
        10.0,
        "the BGP route leaves the kernel",
    )
    assert one.routes()[two.lan_prefix].via == two.tunnel
    assert one.routes()["172.16.0.0/16"].via == hub.tunnel
    assert one.routing.prefixes()[two.lan_prefix] == hub.tunnel
    assert hub.routing.prefixes()[two.lan_prefix] == two.tunnel
    announced = one.routing.show(f"ip bgp neighbors {hub.tunnel} advertised-routes")
    assert set(announced["advertisedRoutes"]) == {one.lan_prefix}
    one.namespace.ip(f"route delete {shortcut}")
    wait_until(
        lambda: (route := one.routes().get(two.lan_prefix)) and route.via == hub.tunnel,
        10.0,
        "the BGP route is back in the kernel",
    )


def test_names_are_resolved_in_the_nodes(nodes: list[ClassicNode]) -> None:
    hub, spoke, _ = nodes
    assert hub.nbma in spoke.namespace.run("getent", "ahostsv4", "hub1.vpn.example")
    assert spoke.namespace.run("getent", "ahostsv4", "nobody.vpn.example", check=False) == ""


def test_a_revoked_certificate_is_refused() -> None:
    own = Authority("revoking CA")
    ipsec = Ipsec(authority=own)
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": ipsec, "bgp": False}, {"ipsec": ipsec, "bgp": False})
        connect(spoke, hub)
        spoke.charon.request("terminate", {"ike": f"nhrp-{hub.nbma}"})
        assert spoke.charon.credential is not None
        own.revoke(spoke.charon.credential)
        hub.charon.install_crl()
        hub.charon.load_all()
        assert "AUTHENTICATION_FAILED" in refused(spoke, hub)
        assert hub.charon.said("certificate was revoked")


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (Ipsec(expired=True), "AUTHENTICATION_FAILED"),
        (Ipsec(authority=authority("another CA")), "AUTHENTICATION_FAILED"),
        (
            Ipsec(
                changes=(
                    (
                        "    proposals = aes256-sha512-ecp384",
                        "    proposals = aes128-sha256-ecp256",
                    ),
                )
            ),
            "NO_PROPOSAL_CHOSEN",
        ),
        (Ipsec(remote_id="elsewhere.vpn.example"), "AUTHENTICATION_FAILED"),
    ],
    ids=["expired", "other authority", "other proposals", "other identity demanded"],
)
def test_what_does_not_fit_is_refused(theirs: Ipsec, words: str) -> None:
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": theirs, "bgp": False}, {"bgp": False})
        refused(spoke, hub)
        assert spoke.charon.said(words) or hub.charon.said(words)


def test_pre_shared_keys() -> None:
    ipsec = Ipsec(psk="a secret of all")
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": ipsec, "bgp": False}, {"ipsec": ipsec, "bgp": False})
        connect(spoke, hub)
        assert len(hub.charon.children(spoke.nbma)) == 1


def test_rsa_made_with_the_commands_of_the_strongswan_manual() -> None:
    ipsec = Ipsec(authority=authority(kind=Key.RSA))
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": ipsec, "bgp": False}, {"ipsec": ipsec, "bgp": False})
        connect(spoke, hub)
        assert len(hub.charon.children(spoke.nbma)) == 1


def test_a_peer_in_tunnel_mode_is_taken_as_it_is() -> None:
    changed = Ipsec(changes=(("mode = transport", "mode = tunnel"),))
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"ipsec": changed, "bgp": False}, {"bgp": False})
        connect(spoke, hub)
        assert [child.mode for child in spoke.charon.children()] == ["TUNNEL"]


def test_a_killed_charon_leaves_its_sas_in_the_kernel() -> None:
    with Lab(private_run=True, static=False) as lab:
        hub, spoke = cloud(lab, {"bgp": False}, {"bgp": False})
        introduce(hub, spoke)
        connect(spoke, hub)
        spoke.charon.kill()
        assert spoke.namespace.ping(hub.tunnel, source=spoke.tunnel).lost == 0
        spoke.charon.start()
        assert spoke.charon.children() == []
        connect(spoke, hub)
        assert spoke.charon.stop() == 0
        wait_until(lambda: hub.charon.children() == [], 5.0, "the hub was told")
