"""The routing table against a plain list of routes, and the widest prefix that may be told to others."""

from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.core.address import Address, Afi, Prefix, prefix_of
from nhrpd_py.core.events import Route
from nhrpd_py.core.kernel.rib import Rib, stretch

addresses = st.lists(st.sampled_from((0, 1, 0x80, 0xFF)), min_size=4, max_size=4).map(bytes)
prefixes = st.builds(prefix_of, addresses, st.integers(0, 32))
routes = st.builds(
    Route,
    prefix=st.one_of(prefixes, st.just(Prefix(b"\x0a\0\0\0", 8))),
    ifindex=st.integers(0, 3),
    gateway=st.sampled_from((b"", b"\x0a\0\0\1", b"\x0a\0\0\2")),
    metric=st.sampled_from((0, 20)),
)


def best(model: list[Route], address: Address) -> Route | None:
    found = [each for each in model if each.prefix.contains(address)]
    return min(found, key=lambda each: (-each.prefix.length, each.metric), default=None)


@given(st.lists(st.tuples(st.sampled_from(("add", "remove", "link")), routes), max_size=40))
def test_the_table_follows_what_the_kernel_tells(script: list[tuple[str, Route]]) -> None:
    rib = Rib(Afi.IPV4)
    model: list[Route] = []
    for verb, route in script:
        before = best([each for each in model if each.prefix == route.prefix], route.prefix.address)
        match verb:
            case "add":
                changed: bool | None = rib.add(route)
                model = [
                    each
                    for each in model
                    if (each.prefix, each.metric) != (route.prefix, route.metric)
                ]
                model.append(route)
            case "remove":
                changed = rib.remove(route)
                model = [each for each in model if each != route]
            case _:
                moved = rib.drop_link(route.ifindex)
                changed = None
                gone = {each.prefix for each in model if each.ifindex == route.ifindex}
                model = [each for each in model if each.ifindex != route.ifindex]
                assert set(moved) <= gone
        after = best([each for each in model if each.prefix == route.prefix], route.prefix.address)
        if changed is not None:
            assert changed == (path_of(before) != path_of(after))
        assert rib.lookup(route.prefix.address) == best(model, route.prefix.address)
        assert len(rib) == len(model)


def path_of(route: Route | None) -> tuple[int, bytes] | None:
    return None if route is None else (route.ifindex, route.gateway)


@given(prefixes, addresses, st.lists(prefixes, max_size=12))
def test_a_stretched_prefix_holds_the_target_and_no_exception_and_is_as_wide_as_can_be(
    outer: Prefix, somewhere: Address, others: list[Prefix]
) -> None:
    # A target within the outer prefix: its head, somebody else's tail.
    mask = (1 << (32 - outer.length)) - 1
    tail = int.from_bytes(somewhere) & mask
    target = (int.from_bytes(outer.address) | tail).to_bytes(4)
    exceptions = [
        each
        for each in others
        if outer.covers(each) and each != outer and not each.contains(target)
    ]
    told = stretch(outer, target, iter(exceptions))
    assert told.contains(target)
    assert outer.covers(told)
    assert not any(told.covers(each) or each.covers(told) for each in exceptions)
    if told.length > outer.length:
        wider = prefix_of(target, told.length - 1)
        assert any(wider.covers(each) for each in exceptions)
