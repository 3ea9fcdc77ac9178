"""The kernel's counters of a tunnel: one that rises is a state with a reason, until it has been quiet for a while."""

import pytest

from nhrpd_py.core.effects import Effect
from nhrpd_py.core.events import InterfaceRefused, LinkGone, TunnelCounted
from nhrpd_py.core.notices import TunnelLosing, TunnelMended
from nhrpd_py.core.queries import View
from tests.support.engine import Node, a_hub, of, the
from tests.support.ipsec import a_protected_hub
from tests.support.sites import GRE, HUB, a_tunnel_of

NO_ROUTE = "no route leads to the outer addresses of peers"


def count(node: Node, now: float, ifindex: int = GRE, **counters: int) -> list[Effect]:
    return node.give(TunnelCounted(ifindex=ifindex, lost=tuple(counters.items())), now=now)


def losing(node: Node) -> object:
    return node.table(View.INTERFACES, "losing")[0][0]


def lost(node: Node) -> dict[object, object]:
    rows = node.table(View.TRAFFIC, "direction", "type", "packets")
    return {row[1]: row[2] for row in rows if row[0] == "lost"}


@pytest.mark.parametrize(
    ("counter", "word", "reason"),
    [
        ("tx_carrier_errors", "no-route", NO_ROUTE),
        ("collisions", "looped", "routed into the tunnel itself"),
        ("tx_dropped", "refused-to-send", "this machine does not send the outer packets"),
        ("rx_fifo_errors", "out-of-sequence", "sequence numbers"),
        ("rx_crc_errors", "checksum", "only one end uses checksums"),
        ("rx_frame_errors", "congestion-bits", "ECN"),
    ],
)
def test_a_counter_that_rises_is_told_in_words(counter: str, word: str, reason: str) -> None:
    hub = a_hub()
    assert count(hub, 0.0, **{counter: 1000}) == []  # what was lost before us is no news
    assert (
        count(hub, 10.0, **{counter: 1002}) == []
    )  # a packet or two are lost wherever routes change
    assert losing(hub) is None
    notice = the(of(count(hub, 20.0, **{counter: 1003}), TunnelLosing))
    assert (notice.counter, notice.packets) == (word, 3)
    assert reason in notice.reason
    assert losing(hub) == f"3 packets lost: {notice.reason}"
    assert lost(hub) == {word: 1003}
    assert count(hub, 30.0, **{counter: 1010}) == []
    assert losing(hub) == f"10 packets lost: {notice.reason}"


def test_it_is_mended_when_nothing_was_lost_for_a_minute_and_a_half() -> None:
    hub = a_hub()
    for at, total in ((0.0, 0), (10.0, 5), (74.0, 6)):  # a lost server is asked every 64 s
        count(hub, at, tx_carrier_errors=total)
    assert count(hub, 160.0, tx_carrier_errors=6) == []
    assert losing(hub)
    assert of(count(hub, 170.0, tx_carrier_errors=6), TunnelMended) == [
        TunnelMended(interface="gre1", counter="no-route")
    ]
    assert losing(hub) is None
    assert lost(hub) == {"no-route": 6}


def test_in_a_protected_tunnel_the_guard_counts_as_no_route() -> None:
    hub = a_protected_hub()
    count(hub, 0.0, tx_carrier_errors=0)
    notice = the(of(count(hub, 10.0, tx_carrier_errors=3), TunnelLosing))
    assert notice.reason == (
        "no security association, or no route, for the outer addresses of peers"
    )


def test_a_netdev_that_was_made_anew_counts_from_the_start() -> None:
    hub = a_hub()
    count(hub, 0.0, collisions=0)
    count(hub, 10.0, collisions=50)
    hub.give(LinkGone(GRE), a_tunnel_of(HUB, ifindex=9), now=11.0)
    assert count(hub, 12.0, collisions=60) == []  # of the one that is gone
    assert count(hub, 13.0, ifindex=9, collisions=7) == []
    assert losing(hub) is None
    assert count(hub, 14.0, ifindex=9, collisions=2) == []  # it was reset
    assert losing(hub) is None


def test_of_a_tunnel_that_is_closed_nothing_is_known() -> None:
    hub = a_hub()
    count(hub, 0.0, collisions=0)
    count(hub, 10.0, collisions=5)
    assert losing(hub)
    hub.give(InterfaceRefused(GRE, "no"), now=11.0)
    assert losing(hub) is None
    assert count(hub, 20.0, collisions=9) == []


def test_counters_that_are_no_trouble_are_only_counted() -> None:
    hub = a_hub()
    count(hub, 0.0, tx_fifo_errors=0, rx_missed_errors=0)
    assert count(hub, 10.0, tx_fifo_errors=100, rx_missed_errors=9) == []
    assert losing(hub) is None
    assert lost(hub) == {"no-next-hop": 100}
