"""The widest of counted prefixes, against those that a plain list has."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.core.address import Prefix, prefix_of
from nhrpd_py.core.ipsec.cover import Covers

# Few distinct bits, so that prefixes lie within each other.
_OCTETS = st.sampled_from((0, 1, 0x80, 0xFF))


def prefixes() -> st.SearchStrategy[Prefix]:
    return st.sampled_from((4, 16)).flatmap(
        lambda size: st.builds(
            prefix_of,
            st.lists(_OCTETS, min_size=size, max_size=size).map(bytes),
            st.integers(0, size * 8),
        )
    )


def widest(counted: Counter[Prefix]) -> set[Prefix]:
    return {
        each
        for each in counted
        if not any(
            other.covers(each) and other != each and len(other.address) == len(each.address)
            for other in counted
        )
    }


@given(st.lists(st.tuples(st.lists(prefixes(), max_size=4), st.integers(0, 3)), max_size=20))
def test_changes_lead_from_one_set_of_widest_prefixes_to_the_next(
    script: list[tuple[list[Prefix], int]],
) -> None:
    covers = Covers()
    counted: Counter[Prefix] = Counter()
    present: set[Prefix] = set()
    for added, count in script:
        removed = sorted(counted.elements())[:count]
        came, left = covers.change(added, removed)
        counted.update(added)
        counted.subtract(removed)
        counted = +counted
        assert not present.intersection(came)
        assert present.issuperset(left)
        present = (present | set(came)) - set(left)
        assert present == widest(counted) == set(covers)
