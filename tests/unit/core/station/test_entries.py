"""The kernel's entries of bindings: to their own NBMA address, or to a server meanwhile."""

from nhrpd_py.core.address import host_prefix
from nhrpd_py.core.effects import DropNeighbor, DropRoute, NeighborState, SetNeighbor
from nhrpd_py.core.station.binding import Binding, BindingType, Entry
from tests.support.bench import Bench
from tests.support.ipsec import IPSEC
from tests.support.sites import GRE, an_interface, nbma, tunnel


class EntriesBench(Bench):
    """The entries of a cache with an open interface."""

    def __init__(self, *, protected: bool = False, prefix_length: int = 32) -> None:
        super().__init__(an_interface(ipsec=IPSEC) if protected else None)
        self.open(tunnel(1), prefix_length)
        self.cache = self.a_cache()
        self.entries = self.cache.entries

    def binding(self, number: int = 2) -> Binding:
        found = self.cache.update(
            tunnel(number), BindingType.DYNAMIC, nbma(number), 0.0, holding_time_s=60
        )
        assert found is not None
        self.effects()
        return found


def test_an_entry_of_an_earlier_run_is_direct_at_once_where_there_is_no_ipsec() -> None:
    bench = EntriesBench()
    binding = bench.binding()
    binding.entry = Entry.NONE
    bench.entries.inherit(binding)
    assert binding.entry is Entry.DIRECT
    assert SetNeighbor(GRE, tunnel(2), nbma(2)) in bench.effects()


def test_an_inherited_entry_that_is_installed_again_stays_until_charon_has_told() -> None:
    bench = EntriesBench(protected=True)
    binding = bench.binding()
    bench.entries.inherit(binding)
    assert binding.entry is Entry.INHERITED
    bench.entries.install(binding)
    assert binding.entry is Entry.INHERITED


def test_an_inherited_entry_in_use_near_its_end_stays_until_charon_has_told() -> None:
    bench = EntriesBench(protected=True)
    binding = bench.binding()
    bench.entries.inherit(binding)
    bench.entries.probe(binding)
    assert SetNeighbor(GRE, tunnel(2), nbma(2), NeighborState.STALE) in bench.effects()
    assert bench.cache.confirm(binding)
    assert binding.entry is Entry.INHERITED
    assert SetNeighbor(GRE, tunnel(2), nbma(2)) in bench.effects()


def test_an_inherited_entry_near_its_end_does_not_go_along_with_its_peer() -> None:
    bench = EntriesBench(protected=True)
    binding = bench.binding()
    bench.entries.inherit(binding)
    bench.entries.probe(binding)
    bench.effects()
    bench.cache.update(tunnel(2), BindingType.DYNAMIC, nbma(9), 1.0, holding_time_s=60)
    assert binding.entry is Entry.NONE
    assert DropNeighbor(GRE, tunnel(2)) in bench.effects()


def test_a_covered_entry_goes_without_a_route() -> None:
    bench = EntriesBench(prefix_length=24)
    binding = bench.binding()
    bench.entries.withdraw(binding)
    assert bench.effects() == [DropNeighbor(GRE, tunnel(2))]


def test_an_entry_with_a_route_takes_it_along() -> None:
    bench = EntriesBench()
    bench.entries.withdraw(bench.binding())
    assert bench.effects() == [
        DropRoute(host_prefix(tunnel(2)), GRE),
        DropNeighbor(GRE, tunnel(2)),
    ]


def test_an_entry_that_is_covered_when_it_is_installed_again_loses_its_route() -> None:
    """The tunnel has got a network around it, and somebody asked for the entry before the routes are looked at."""
    bench = EntriesBench()
    binding = bench.binding()
    assert binding.routed
    bench.open(tunnel(1), 24)
    bench.effects()
    bench.entries.install(binding)
    assert bench.effects() == [
        SetNeighbor(GRE, tunnel(2), nbma(2)),
        DropRoute(host_prefix(tunnel(2)), GRE),
    ]
    bench.entries.install(binding)
    assert bench.effects() == [SetNeighbor(GRE, tunnel(2), nbma(2))]


def test_an_installed_binding_is_not_led_to_a_server() -> None:
    bench = EntriesBench()
    bench.binding()
    bench.entries.lead_to_server(tunnel(2), nbma(1))
    assert bench.effects() == []
    assert bench.entries.server_of(tunnel(2)) == b""


def test_an_entry_that_leads_to_a_server_is_dropped_while_the_tunnel_is_open_only() -> None:
    bench = EntriesBench()
    for number, opened in ((2, True), (3, False)):
        bench.entries.lead_to_server(tunnel(number), nbma(1))
        bench.effects()
        bench.interface.opened = opened
        bench.entries.leave_server(tunnel(number))
        assert bench.effects() == [DropNeighbor(GRE, tunnel(number))][: int(opened)]


def test_entries_follow_the_best_server() -> None:
    bench = EntriesBench()
    bench.entries.lead_to_server(tunnel(2), nbma(1))
    bench.entries.lead_to_server(tunnel(3), nbma(11))
    bench.effects()
    bench.entries.best_server_changed(nbma(11))
    assert bench.effects() == [SetNeighbor(GRE, tunnel(2), nbma(11))]


def test_entries_of_a_lost_server_lead_to_the_next_one_and_then_nowhere() -> None:
    bench = EntriesBench()
    bench.entries.lead_to_server(tunnel(2), nbma(1))
    bench.effects()
    bench.entries.server_lost(nbma(1), nbma(11))
    assert bench.effects() == [SetNeighbor(GRE, tunnel(2), nbma(11))]
    bench.entries.server_lost(nbma(1), b"")
    assert bench.effects() == []
    bench.entries.server_lost(nbma(11), b"")
    assert bench.effects() == [DropNeighbor(GRE, tunnel(2))]
