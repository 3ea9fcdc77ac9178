"""Bindings that only the kernel remembers give way to the first word of a peer."""

from nhrpd_py.core.address import parse_address
from nhrpd_py.core.station.binding import BindingType
from nhrpd_py.core.station.cache import Cache
from tests.support import inspect
from tests.support.bench import Bench

PEER = parse_address("10.255.255.3")
OLD, NEW = parse_address("192.0.2.3"), parse_address("192.0.2.30")


def a_cache() -> Cache:
    return Bench().a_cache()


def test_a_resolution_overrules_an_adopted_binding() -> None:
    cache = a_cache()
    adopted = cache.update(PEER, BindingType.DYNAMIC, OLD, 0.0, holding_time_s=60)
    assert adopted is not None
    inspect.set_adopted(adopted)
    learnt = cache.update(PEER, BindingType.CACHED, NEW, 1.0, holding_time_s=60)
    assert learnt is not None
    assert (learnt.type, learnt.nbma, inspect.is_adopted(learnt)) == (
        BindingType.CACHED,
        NEW,
        False,
    )


def test_a_resolution_does_not_overrule_a_registration() -> None:
    cache = a_cache()
    cache.update(PEER, BindingType.DYNAMIC, OLD, 0.0, holding_time_s=60)
    assert cache.update(PEER, BindingType.CACHED, NEW, 1.0, holding_time_s=60) is None
    binding = cache.get(PEER)
    assert binding is not None
    assert binding.nbma == OLD
