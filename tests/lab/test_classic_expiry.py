"""A shortcut of the classic DMVPN over its holding time; on its own, for it wants another one."""

from tests.lab.clouds import cloud, has_shortcut, leads_to_hub, make_shortcuts, wait_ready
from tools.lab.namespace import wait_until


def test_an_idle_shortcut_disappears_and_traffic_is_on_the_hub_again() -> None:
    with cloud({}, {}, {}, holding_time_s=15) as (_, nodes):
        hub, one, two = nodes
        wait_ready(nodes)
        make_shortcuts(one, two)
        wait_until(
            lambda: not has_shortcut(one, two) and leads_to_hub(one, two, hub),
            60.0,
            "the idle shortcut goes and BGP's route is back",
        )
        assert one.ping_lan(two, count=3).lost == 0
