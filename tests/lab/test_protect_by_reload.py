"""A cloud in clear that becomes a protected one, and back, by nothing but reloads."""

from tests.lab.clouds import GRE_AND_ESP, cloud, in_clear, peer, server_state
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered


def test_protection_is_switched_on_and_off_by_reloads() -> None:
    with cloud({}, {}, bgp=False, protected=False) as (_, nodes):
        hub, spoke = nodes
        wait_until(lambda: registered(hub, spoke), 60.0, "registration in clear")
        assert seen(hub, spoke) == (True, False)
        for protected in (True, False):
            for node in nodes:
                node.protected = protected
                node.reload()
            state = "up" if protected else "none"
            wait_until(lambda state=state: is_served(hub, spoke, state), 90.0, "registration")  # type: ignore[misc]
            if not protected:  # the SA is charon's, and carries what fits while it lives
                assert seen(hub, spoke) == (False, True)
                wait_until(lambda: are_ended(nodes), 60.0, "the end of all SAs")
            assert seen(hub, spoke) == (not protected, protected)
            policies = hub.namespace.run("ip", "xfrm", "policy")
            assert ("action block" in policies) is protected
            if protected:
                a_profile_that_does_not_exist_is_refused(spoke)
                assert is_served(hub, spoke, state)


def a_profile_that_does_not_exist_is_refused(spoke: ClassicNode) -> None:
    good = spoke.configuration()
    spoke.config_path.write_text(good.replace('profile = "dmvpn"', 'profile = "dmvpnx"'))
    done = spoke.run_ctl("reload", check=False)
    assert done.returncode == 1
    assert "interface.gre1.ipsec.profile: profile dmvpnx: no such connection in" in done.stderr
    spoke.config_path.write_text(good)
    assert spoke.run_ctl("reload").returncode == 0


def are_ended(nodes: list[ClassicNode]) -> bool:
    """Ends what SAs there are; both may have begun one."""
    for node in nodes:
        for child in node.charon.children():
            node.charon.swanctl("--terminate", "--ike-id", str(child.ike_id), check=False)
    return not any(node.charon.children() for node in nodes)


def is_served(hub: ClassicNode, spoke: ClassicNode, ipsec: str) -> bool:
    shown = [peer(spoke, hub), peer(hub, spoke)]
    return (
        all(each is not None and each["ipsec"] == ipsec for each in shown)
        and server_state(spoke) == "up"
        and hub.namespace.ping(spoke.tunnel, count=1, source=hub.tunnel).received == 1
    )


def seen(hub: ClassicNode, spoke: ClassicNode) -> tuple[bool, bool]:
    """Whether pings went in clear, and whether they went under ESP."""
    with hub.capture(expression=GRE_AND_ESP) as wire:
        assert spoke.namespace.ping(hub.tunnel, count=5, source=spoke.tunnel).lost == 0
        packets = wire.stop()
    return bool(in_clear(packets)), any(packet.is_esp for packet in packets)
