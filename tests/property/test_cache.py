"""The cache against a plain dictionary: precedence, expiry, and a kernel that is always as the cache is."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.core.address import Address, Prefix, host_prefix
from nhrpd_py.core.effects import Effect
from nhrpd_py.core.station.binding import BindingType
from tests.support import inspect
from tests.support.engine import a_hub
from tests.support.fake_kernel import FakeKernel
from tests.support.sites import GRE, nbma, tunnel

PROTOCOLS = [tunnel(20), tunnel(21), tunnel(22)]
NBMAS = [nbma(20), nbma(21)]


@dataclass(frozen=True, slots=True)
class Update:
    protocol: Address
    kind: BindingType
    nbma: Address
    holding_time_s: int


@dataclass(frozen=True, slots=True)
class Remove:
    protocol: Address


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


updates = st.builds(
    Update,
    st.sampled_from(PROTOCOLS),
    st.sampled_from(BindingType),
    st.sampled_from(NBMAS),
    st.sampled_from((0, 1, 10, 60, 65535)),
)
removals = st.builds(Remove, st.sampled_from(PROTOCOLS))
waits = st.builds(Wait, st.sampled_from((0.5, 1.0, 9.0, 40.0, 61.0)))


def carry_out(kernel: FakeKernel, effects: list[Effect]) -> None:
    """Nothing is dropped that is not there."""
    for effect in effects:
        assert kernel.apply(effect), effect


@given(st.lists(updates | removals | waits, max_size=30))
def test_cache_and_kernel_are_what_a_dictionary_says(script: list[Update | Remove | Wait]) -> None:
    engine = a_hub().engine
    cache = inspect.cache(engine)
    kernel = FakeKernel(opened={GRE})
    model: dict[Address, tuple[BindingType, Address, float]] = {}
    now = 0.0
    for step in script:
        inspect.taken(engine)
        match step:
            case Update(protocol, kind, nbma, holding_time_s):
                binding = cache.update(protocol, kind, nbma, now, holding_time_s=holding_time_s)
                is_weaker = protocol in model and kind < model[protocol][0]
                assert (binding is None) == is_weaker
                if not is_weaker:
                    ends = now + holding_time_s if holding_time_s else float("inf")
                    model[protocol] = (kind, nbma, ends)
            case Remove(protocol):
                found = cache.get(protocol)
                assert (found is not None) == (protocol in model)
                if found is not None:
                    cache.remove(found, "the test says so")
                    del model[protocol]
            case Wait(seconds):
                now += seconds
                engine.advance(now)
                model = {key: each for key, each in model.items() if each[2] > now}
        carry_out(kernel, inspect.taken(engine))
        assert {each.protocol: (each.type, each.nbma, each.expires_at) for each in cache} == model
        neighbors = {key: nbma for key, (nbma, _) in kernel.neighbors.items()}
        assert neighbors == {key: nbma for key, (_, nbma, _) in model.items()}
        assert kernel.routes.keys() == {host_prefix(key) for key in model}
        for nbma in NBMAS:
            count = sum(each[1] == nbma for each in model.values())
            assert len(cache.of_nbma(nbma)) == count
        in_use = sorted({each[1] for each in model.values()})
        assert list(cache.nbma_inside(Prefix(bytes(4), 0))) == in_use
        deadline = engine.next_deadline()
        assert deadline is None or deadline > now
