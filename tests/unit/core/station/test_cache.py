"""The cache: precedence, kernel state, time (RFC 2332 §6.2)."""

import pytest

from nhrpd_py.core.address import host_prefix, prefix_of
from nhrpd_py.core.base.timers import TimerKind
from nhrpd_py.core.effects import (
    DropNeighbor,
    DropRoute,
    NeighborState,
    SetNeighbor,
    SetRoute,
)
from nhrpd_py.core.notices import BindingRemoved, TableFull
from nhrpd_py.core.station import cache as cache_module
from nhrpd_py.core.station.binding import Binding, BindingType
from tests.support import inspect
from tests.support.bench import Bench
from tests.support.engine import of, the
from tests.support.sites import GRE, an_address, nbma, tunnel


class CacheBench(Bench):
    """A cache on a bench, with the effects of the last call."""

    def __init__(self, *, opened: bool = True, prefix_length: int = 32) -> None:
        super().__init__()
        self.open(tunnel(1), prefix_length)
        self.interface.opened = opened
        self.cache = self.a_cache()

    def update(
        self,
        number: int = 2,
        kind: BindingType = BindingType.DYNAMIC,
        now: float = 0.0,
        to: bytes = b"",
        holding_time_s: int = 60,
        **more,
    ) -> Binding | None:
        return self.cache.update(
            tunnel(number), kind, to or nbma(number), now, holding_time_s=holding_time_s, **more
        )

    def binding(self, number: int = 2, kind: BindingType = BindingType.DYNAMIC, **more) -> Binding:
        found = self.update(number, kind, **more)
        assert found is not None
        self.effects()
        return found


@pytest.mark.parametrize("stronger", list(BindingType))
@pytest.mark.parametrize("weaker", list(BindingType))
def test_weaker_source_never_overwrites_a_stronger_one(stronger, weaker) -> None:
    bench = CacheBench()
    bench.binding(kind=stronger)
    updated = bench.update(kind=weaker, to=nbma(9))
    assert (updated is not None) is (weaker >= stronger)
    kept = bench.cache.get(tunnel(2))
    assert kept is not None
    assert kept.type is max(stronger, weaker)


def test_binding_is_a_neighbour_and_a_host_route() -> None:
    bench = CacheBench()
    bench.update()
    assert bench.effects() == [
        SetNeighbor(GRE, tunnel(2), nbma(2)),
        SetRoute(host_prefix(tunnel(2)), GRE),
    ]


def test_removed_binding_takes_its_route_before_its_neighbour() -> None:
    bench = CacheBench()
    bench.cache.remove(bench.binding(), "why")
    assert bench.effects() == [
        DropRoute(host_prefix(tunnel(2)), GRE),
        DropNeighbor(GRE, tunnel(2)),
        BindingRemoved(
            interface="gre1", protocol=tunnel(2), nbma=nbma(2), type="dynamic", reason="why"
        ),
    ]
    assert len(bench.cache) == 0
    assert bench.timer_count() == 0


def test_closed_interface_asks_nothing_of_the_kernel() -> None:
    bench = CacheBench(opened=False)
    binding = bench.update()
    assert binding is not None
    assert bench.effects() == []
    bench.cache.entries.refit_routes()
    assert bench.effects() == []
    bench.interface.opened = True
    bench.cache.install_all()
    assert len(bench.effects()) == 2
    bench.interface.opened = False
    bench.cache.remove(binding, "why")
    assert [type(each) for each in bench.effects()] == [BindingRemoved]


def test_host_routes_come_and_go_with_the_connected_prefix() -> None:
    bench = CacheBench(prefix_length=24)
    bench.update()
    assert of(bench.effects(), SetRoute) == []
    bench.interface.readdress((an_address(GRE, tunnel(1), 32),))
    bench.cache.entries.refit_routes()
    assert bench.effects() == [SetRoute(host_prefix(tunnel(2)), GRE)]
    bench.cache.entries.refit_routes()
    assert bench.effects() == []
    bench.interface.readdress((an_address(GRE, tunnel(1), 24),))
    bench.cache.entries.refit_routes()
    assert bench.effects() == [DropRoute(host_prefix(tunnel(2)), GRE)]


def test_binding_for_ever_has_no_timer() -> None:
    bench = CacheBench()
    bench.binding(kind=BindingType.STATIC, holding_time_s=0)
    assert bench.next_deadline() is None


def test_binding_that_becomes_permanent_loses_its_timer() -> None:
    bench = CacheBench()
    bench.binding()
    bench.binding(kind=BindingType.STATIC, holding_time_s=0)
    assert bench.next_deadline() is None


def test_cached_binding_is_probed_near_its_end() -> None:
    for holding_time_s, probe_at in ((600, 400.0), (60, 40.0), (15, 7.0), (4, 1.0)):
        bench = CacheBench()
        bench.binding(kind=BindingType.CACHED, holding_time_s=holding_time_s)
        assert bench.due(600.0) == [
            (probe_at, TimerKind.BINDING_PROBE),
            (float(holding_time_s), TimerKind.BINDING_EXPIRY),
        ]


def test_cached_binding_that_registers_is_probed_no_more() -> None:
    bench = CacheBench()
    bench.binding(kind=BindingType.CACHED)
    bench.binding(kind=BindingType.DYNAMIC, now=1.0)
    assert bench.due(100.0) == [(61.0, TimerKind.BINDING_EXPIRY)]


def test_expiry_of_a_refreshed_binding_sleeps_on() -> None:
    bench = CacheBench()
    bench.binding()
    bench.binding(now=20.0)
    assert bench.due(60.0) == [(60.0, TimerKind.BINDING_EXPIRY)]
    bench.cache.expiry_due(tunnel(2), 60.0)
    assert bench.due(100.0) == [(80.0, TimerKind.BINDING_EXPIRY)]
    bench.cache.expiry_due(tunnel(2), 80.0)
    assert bench.cache.get(tunnel(2)) is None


def test_what_is_left_of_a_holding_time_counts() -> None:
    bench = CacheBench()
    binding = bench.binding(lifetime_s=5.0)
    assert (binding.holding_time_s, binding.expires_at) == (60, 5.0)


def test_probe_makes_the_entry_stale_and_use_confirms_it() -> None:
    bench = CacheBench(prefix_length=24)
    binding = bench.binding(kind=BindingType.CACHED)
    bench.cache.entries.probe(binding)
    assert bench.effects() == [SetNeighbor(GRE, tunnel(2), nbma(2), NeighborState.STALE)]
    assert [inspect.is_used(each) for each in bench.cache] == [False]
    assert bench.cache.confirm(binding)
    assert [inspect.is_used(each) for each in bench.cache] == [True]
    assert bench.effects() == [SetNeighbor(GRE, tunnel(2), nbma(2))]
    assert not bench.cache.confirm(binding)  # no news


def test_refreshed_binding_under_probe_is_permanent_again() -> None:
    bench = CacheBench(prefix_length=24)
    bench.cache.entries.probe(bench.binding(kind=BindingType.CACHED))
    bench.effects()
    bench.update(kind=BindingType.CACHED, now=1.0)
    assert bench.effects() == [SetNeighbor(GRE, tunnel(2), nbma(2))]


def test_moved_binding_is_programmed_and_counted_anew(monkeypatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_BINDINGS_PER_SENDER", 1)
    bench = CacheBench(prefix_length=24)
    bench.binding()
    bench.update(to=nbma(9), now=5.0)
    assert bench.effects() == [SetNeighbor(GRE, tunnel(2), nbma(9))]
    assert bench.cache.has_room(nbma(2), 5.0)
    assert not bench.cache.has_room(nbma(9), 5.0)
    assert the(bench.cache).created_at == 5.0


def test_natted_is_who_claims_another_address() -> None:
    bench = CacheBench()
    assert not bench.binding().nat
    assert bench.binding(claimed_nbma=nbma(7)).nat


def test_bounds_are_told_once_a_minute_each(monkeypatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_BINDINGS", 1)
    bench = CacheBench()
    bench.binding()
    assert bench.update(3) is None
    assert of(bench.effects(), TableFull) == [TableFull(interface="gre1", table="cache", limit=1)]
    assert bench.update(3, now=59.0) is None
    assert bench.effects() == []
    assert bench.update(3, now=60.0) is None
    assert len(bench.effects()) == 1


def test_cached_bindings_leave_room_for_those_who_register(monkeypatch) -> None:
    """A flood of Resolution Requests in made-up names filled the cache: no client could register any more."""
    monkeypatch.setattr(cache_module, "MAX_CACHED", 2)
    bench = CacheBench()
    for number in (2, 3, 4):
        bench.binding(number, BindingType.CACHED)
    assert [each.protocol for each in bench.cache] == [tunnel(3), tunnel(4)]
    bench.binding(3, BindingType.CACHED, now=1.0)  # asked again: younger than 4
    bench.update(5, BindingType.CACHED, now=2.0)
    effects = bench.effects()
    assert the(of(effects, BindingRemoved)).protocol == tunnel(4)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(5), nbma(5))]
    bench.binding(3, BindingType.DYNAMIC, now=3.0)  # it registered: no cached one any more
    bench.binding(6, BindingType.CACHED, now=4.0)
    assert len(bench.cache) == 3


def test_nbma_address_with_most_cached_bindings_makes_room_for_others(monkeypatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_CACHED", 4)
    bench = CacheBench()
    bench.binding(2, BindingType.CACHED)
    for number in range(20, 60):
        bench.binding(number, BindingType.CACHED, to=nbma(9))
    assert [each.protocol for each in bench.cache] == [tunnel(each) for each in (2, 57, 58, 59)]
    # What moves away from there counts where it is now.
    bench.binding(59, BindingType.CACHED, to=nbma(3))
    bench.binding(58, BindingType.CACHED, to=nbma(3))
    bench.binding(60, BindingType.CACHED, to=nbma(9))
    assert [each.protocol for each in bench.cache] == [tunnel(each) for each in (2, 57, 58, 60)]


def test_cached_binding_that_a_shortcut_needs_is_not_evicted(monkeypatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_CACHED", 2)
    bench = CacheBench()
    needed = [bench.binding(number, BindingType.CACHED) for number in (2, 3)]
    bench.cache.watch(needed[0], 30.0, 0.0)
    bench.binding(4, BindingType.CACHED)
    assert [each.protocol for each in bench.cache] == [tunnel(2), tunnel(4)]
    fourth = bench.cache.get(tunnel(4))
    assert fourth is not None
    bench.cache.watch(fourth, 30.0, 0.0)
    assert bench.update(5, BindingType.CACHED) is None
    assert [each.table for each in of(bench.effects(), TableFull)] == ["cached bindings"]


def test_neighbours_of_an_address_are_those_in_order() -> None:
    bench = CacheBench()
    bindings = [bench.binding(number) for number in (7, 3, 5)]
    assert bench.cache.around(tunnel(4)) == [tunnel(3), tunnel(5)]
    assert bench.cache.around(tunnel(1)) == [tunnel(3)]
    assert bench.cache.around(tunnel(9)) == [tunnel(7)]
    assert bench.cache.around(tunnel(4), apart_from=(tunnel(3), tunnel(5))) == [tunnel(7)]
    bench.cache.remove(bindings[2], "x")
    assert bench.cache.around(tunnel(4)) == [tunnel(3), tunnel(7)]


def test_two_bindings_of_one_nbma_address_are_counted_apart() -> None:
    bench = CacheBench()
    first, second = bench.binding(2, to=nbma(9)), bench.binding(3, to=nbma(9))
    bench.cache.remove(first, "x")
    assert bench.cache.nbma_addresses() == (nbma(9),)
    bench.cache.remove(second, "x")
    assert bench.cache.nbma_addresses() == ()
    assert bench.cache.get(tunnel(2)) is None


def test_room_is_kept_for_senders_that_have_none(monkeypatch) -> None:
    """One peer that filled the table kept all newcomers out."""
    monkeypatch.setattr(cache_module, "MAX_BINDINGS", 32)
    bench = CacheBench()
    for number in range(2, 32):
        bench.update(number, to=nbma(2))
    assert bench.update(33, to=nbma(2)) is None
    assert bench.update(34, to=nbma(34)) is not None
    assert bench.update(35, to=nbma(34)) is None


def test_bindings_count_for_their_sender_whatever_nbma_address_they_have(monkeypatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_BINDINGS_PER_SENDER", 2)
    bench = CacheBench()
    assert bench.update(2, to=nbma(2), sender=nbma(9)) is not None
    assert bench.update(3, to=nbma(3), sender=nbma(9)) is not None
    assert bench.update(4, to=nbma(4), sender=nbma(9)) is None
    bench.cache.remove(the(each for each in bench.cache if each.nbma == nbma(2)), "x")
    assert bench.update(4, to=nbma(4), sender=nbma(9)) is not None
    assert bench.update(5, to=nbma(9)) is None  # the sender itself


def test_what_a_server_hands_on_counts_for_each_nbma_address_itself(monkeypatch) -> None:
    """Over IPsec all answers of new peers come by way of the hub: they are not the hub's."""
    monkeypatch.setattr(cache_module, "MAX_BINDINGS_PER_SENDER", 2)
    bench = CacheBench()
    bench.binding(9, BindingType.NHS, to=nbma(9))
    for number in range(20, 30):
        assert bench.update(number, BindingType.CACHED, to=nbma(number), sender=nbma(9))
    assert bench.update(30, BindingType.CACHED, to=nbma(20), sender=nbma(9))
    assert bench.update(31, BindingType.CACHED, to=nbma(20), sender=nbma(9)) is None


def test_addresses_that_move_to_a_sender_count_for_it_too(monkeypatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_BINDINGS_PER_SENDER", 1)
    bench = CacheBench()
    bench.binding(2, to=nbma(2))
    bench.binding(9, to=nbma(9))
    assert bench.update(2, to=nbma(9)) is None
    assert bench.update(2, to=nbma(8)) is not None


def test_nbma_addresses_within_a_prefix_are_found_whatever_family_is_between() -> None:
    bench = CacheBench()
    ipv6 = nbma(4) + bytes(12)
    for number, to in ((2, nbma(2)), (3, nbma(9)), (4, ipv6), (5, nbma(4)), (6, nbma(200))):
        bench.binding(number, to=to)
    within = [*bench.cache.nbma_inside(prefix_of(nbma(0), 28))]
    assert within == [nbma(2), nbma(4), nbma(9)]
    assert [*bench.cache.nbma_inside(host_prefix(nbma(3)))] == []
    assert bench.cache.nbma_around(nbma(100)) == [nbma(9), nbma(200)]


def test_nbma_address_is_in_use_as_long_as_a_binding_leads_there() -> None:
    bench = CacheBench()
    first = bench.binding(2, to=nbma(9))
    bench.binding(3, to=nbma(9))
    bench.cache.remove(first, "x")
    assert [*bench.cache.nbma_inside(host_prefix(nbma(9)))] == [nbma(9)]
    bench.binding(3, to=nbma(8))
    assert [*bench.cache.nbma_inside(prefix_of(nbma(0), 24))] == [nbma(8)]
