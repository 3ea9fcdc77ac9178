"""SAs that are up while nothing comes through them: a filter lets IKE pass and drops ESP."""

import pytest

from tests.lab.clouds import cloud, server_state, wait_ready
from tests.lab.expect import row
from tools.lab.classic import ClassicNode
from tools.lab.kernel import iptables
from tools.lab.namespace import wait_until


def has_octets(one: ClassicNode, hub: ClassicNode) -> bool:
    found = row(one, "peers", nbma=hub.nbma)
    return found is not None and bool(found["bytes_in"]) and bool(found["bytes_out"])


def is_lost_for_it(one: ClassicNode, hub: ClassicNode) -> bool:
    found = row(one, "nhs", nbma=hub.nbma)
    return (
        found is not None and found["state"] != "up" and "got none: ESP" in str(found["last_error"])
    )


@pytest.mark.timeout(300)
def test_a_hub_that_rejects_or_drops_esp_is_told_so() -> None:
    with cloud({}, {}, static=True, bgp=False) as (_, (hub, one)):
        wait_ready([hub, one])
        wait_until(lambda: has_octets(one, hub), 30.0, "octets are shown")
        ping = one.namespace.start_ping(hub.tunnel, interval_s=0.5, source=one.tunnel)
        iptables(hub.namespace, "-I INPUT -p esp -j REJECT --reject-with icmp-admin-prohibited")
        found = wait_until(
            lambda: row(one, "problems", kind="undelivered", nbma=hub.nbma), 30.0, "it says so"
        )
        assert "packet filter prohibits ESP" in str(found["reason"])
        iptables(hub.namespace, "-D INPUT -p esp -j REJECT --reject-with icmp-admin-prohibited")
        one.flush("all")
        wait_until(lambda: server_state(one) == "up", 90.0, "it serves again")
        iptables(hub.namespace, "-I INPUT -p esp -j DROP")
        try:
            found = wait_until(
                lambda: row(one, "problems", kind="one-way", nbma=hub.nbma), 120.0, "it is told"
            )
            assert "packets and got none: ESP" in str(found["reason"])
            assert found["subject"] == hub.identity
            wait_until(lambda: is_lost_for_it(one, hub), 60.0, "the server's last error has it")
            assert one.logged("sa.silent") or one.logged("nhs.down")
        finally:
            iptables(hub.namespace, "-D INPUT -p esp -j DROP")
            ping.stop()
        wait_until(lambda: server_state(one) == "up", 90.0, "it serves again")
        wait_until(lambda: row(one, "problems", kind="one-way") is None, 30.0, "it is over")
