"""Who has how much of a table."""

from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.core.base.shares import Shares


def shares_of(*pairs: tuple[str, object]) -> Shares[str]:
    shares: Shares[str] = Shares()
    for key, user in pairs:
        shares.add(key, user)
    return shares


def test_largest_user_is_asked_for_its_oldest_key() -> None:
    shares = shares_of(("a", 1), ("b", 2), ("c", 2), ("d", 3))
    assert list(shares.of_largest()) == ["b", "c"]
    shares.discard("b")
    assert list(shares.of_largest()) == ["a"]  # all have one: the first


def test_key_that_is_added_again_is_the_newest_and_the_other_users() -> None:
    shares = shares_of(("a", 1), ("b", 1), ("a", 1))
    assert list(shares.of_largest()) == ["b", "a"]
    shares.add("b", 2)
    shares.add("c", 2)
    assert list(shares.of_largest()) == ["b", "c"]
    assert len(shares) == 3


def test_nobody_has_anything_of_an_empty_table() -> None:
    shares = shares_of(("a", 1))
    shares.discard("a")
    shares.discard("a")
    assert list(shares.of_largest()) == []
    assert len(shares) == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 3))))
def test_largest_user_has_most_whatever_came_and_went(steps) -> None:
    shares: Shares[int] = Shares()
    model: dict[int, int] = {}
    for added, key, user in steps:
        if added:
            shares.add(key, user)
            model.pop(key, None)
            model[key] = user
        else:
            shares.discard(key)
            model.pop(key, None)
        users = list(model.values())
        most = max(map(users.count, users), default=0)
        found = list(shares.of_largest())
        assert len(found) == most
        if found:
            assert found == [each for each, of in model.items() if of == model[found[0]]]
