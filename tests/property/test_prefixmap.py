"""The longest-prefix map against `ipaddress` and a plain dictionary, in both families, with removals."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.core.address import Address, Prefix, prefix_of
from nhrpd_py.core.base.prefixmap import PrefixMap

# Few distinct bits, so that prefixes meet.
_OCTETS = st.sampled_from((0, 1, 0x80, 0xFF))


def addresses(size: int) -> st.SearchStrategy[Address]:
    return st.lists(_OCTETS, min_size=size, max_size=size).map(bytes)


def prefixes(size: int) -> st.SearchStrategy[Prefix]:
    return st.builds(prefix_of, addresses(size), st.integers(0, size * 8))


def network(prefix: Prefix) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(str(prefix))


@given(st.data(), st.sampled_from((4, 16)))
def test_a_map_answers_as_a_list_of_networks_would(data: st.DataObject, size: int) -> None:
    map_: PrefixMap[str] = PrefixMap(size)
    model: dict[Prefix, str] = {}
    script = st.lists(st.tuples(st.booleans(), prefixes(size)), max_size=30)
    for is_removal, prefix in data.draw(script):
        if is_removal:
            assert map_.pop(prefix) == model.pop(prefix, None)
        else:
            map_[prefix] = model[prefix] = str(prefix)
        assert map_.get(prefix) == model.get(prefix)
    assert len(map_) == len(model)
    assert sorted(map_.values()) == sorted(model.values())

    address = data.draw(addresses(size))
    host = ipaddress.ip_address(address)
    holding = sorted(
        (each for each in model if host in network(each)), key=lambda each: -each.length
    )
    assert list(map_.matches(address)) == [model[each] for each in holding]
    assert map_.longest(address) == (model[holding[0]] if holding else None)

    outer = data.draw(prefixes(size))
    within = {
        text
        for each, text in model.items()
        if each.length >= outer.length and ipaddress.ip_address(each.address) in network(outer)
    }
    assert set(map_.inside(outer)) == within
