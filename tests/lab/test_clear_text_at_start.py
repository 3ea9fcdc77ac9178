"""No packet of a protected tunnel travels in clear before there is an SA; in a cloud that is started for that."""

from tests.lab.clear_text import lead_into_tunnel, ping_for, watched
from tests.lab.clouds import (
    cloud,
    server_state,
)
from tools.lab.namespace import wait_until


def test_before_the_first_sa_and_while_it_is_made() -> None:
    with cloud({}, {}, start=False, bgp=False) as (_, nodes):
        hub, spoke = nodes
        hub.start()
        lead_into_tunnel(hub, spoke)
        lead_into_tunnel(spoke, hub)
        spoke.start_services()

        def bring_up() -> None:
            spoke.start()
            wait_until(lambda: server_state(spoke) == "up", 40.0, "registration")

        # The hub's guard stands; the spoke's not before its daemon: only what the hub lets in counts here.
        with hub.capture(expression="ip proto 47 and src host " + hub.nbma) as wire:
            bring_up()
        assert wire.packets() == []

        def ping() -> None:
            wait_until(lambda: ping_for(spoke, hub), 5.0, "ping")

        clear, esp = watched(nodes, ping)
        assert (clear, esp > 0) == (0, True)
