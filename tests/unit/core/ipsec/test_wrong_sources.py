"""What the packet filter found: problems, and packets from sources that are not their peer's."""

from nhrpd_py.core.events import (
    SourceFilterState,
    WrongSources,
)
from nhrpd_py.core.filter_notices import WrongSource
from nhrpd_py.core.queries import View
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, of, sent, the
from tests.support.ipsec import (
    gone,
    installed,
)
from tests.support.messages import (
    a_resolution_reply,
)
from tests.support.sites import (
    HUB,
    host,
    nbma,
)
from tests.support.source_filter import (
    LAN,
    MARK_OF_HUB,
    a_filtering_hub,
    a_filtering_spoke,
)


def problem(node: Node) -> object:
    return node.table(View.INTERFACES, "problem")[0][0]


def test_missing_marks_are_a_problem_where_wrong_sources_should_be_dropped() -> None:
    for setting in (True, None):
        hub, _ = a_filtering_hub(source_filter=setting)
        assert problem(hub) is None
        hub.give(installed(4, local=1))
        told = problem(hub)
        assert (told is not None) is bool(setting)
        assert not setting or "1 SAs have no mark" in str(told)
        hub.give(installed(4, local=1, mark=4))
        assert problem(hub) is None
        hub.give(installed(4, local=1, id=44), gone(4, local=1, id=44))
        assert problem(hub) is None


def test_a_packet_filter_that_is_not_in_force_is_a_problem_until_it_is() -> None:
    for setting in (True, None):
        hub, _ = a_filtering_hub(source_filter=setting)
        hub.give(SourceFilterState("gre1", "nft: no"), SourceFilterState("gre9", "not ours"))
        assert problem(hub) == ("source-filter: nft: no" if setting else None)
        hub.give(SourceFilterState("gre1", None))
        assert problem(hub) is None


def test_wrong_sources_are_counted_for_peer_and_interface_and_told_once_a_minute() -> None:
    hub, _ = a_filtering_hub(source_filter=True)
    report = WrongSources("gre1", 2, host(3), 5)
    notice = the(of(hub.give(report, now=1.0), WrongSource))
    assert (notice.nbma, notice.identity, notice.source) == (nbma(2), "spoke2.example", host(3))
    assert (notice.packets, notice.dropped) == (5, True)
    assert of(hub.give(report, now=30.0), WrongSource) == []
    unknown = WrongSources("gre1", 77, host(4), 1)
    assert len(of(hub.give(WrongSources("gre1", 3, b"", 1), unknown, now=30.0), WrongSource)) == 2
    assert hub.table(View.INTERFACES, "wrong_sources") == [(12,)]
    assert hub.table(View.PEERS, "nbma", "wrong_sources") == [
        ("192.168.100.2", 10),
        ("192.168.100.3", 1),
    ]
    assert len(of(hub.give(report, now=70.0), WrongSource)) == 1
    assert of(hub.give(WrongSources("gre7", 2, host(3), 5)), WrongSource) == []


def test_a_spoke_asks_whether_a_wrong_source_is_its_peers_after_all() -> None:
    spoke, found = a_filtering_spoke(source_filter=True)
    found.apply(spoke.give(installed(3, mark=3)))
    effects = spoke.give(WrongSources("gre1", 3, host(3), 4), now=1.0)
    request = the(sent(effects, PacketType.RESOLUTION_REQUEST))
    assert request.destination_protocol == host(3)
    found.apply(effects)
    assert 0 not in found.sources  # else whoever sends as somebody absent would be let in by it
    found.apply(spoke.receive(a_resolution_reply(request), HUB.nbma, now=1.1))
    assert found.of(3) == ["10.255.255.3/32", LAN.format(3)]
    for report in (
        WrongSources("gre1", 3, host(2), 1),
        WrongSources("gre1", MARK_OF_HUB, host(4), 1),
    ):
        assert sent(spoke.give(report, now=2.0), PacketType.RESOLUTION_REQUEST) == []
