"""The table of CHILD_SAs: a pair carries traffic while it has one."""

from nhrpd_py.core.ipsec.associations import Associations
from tests.support.ipsec import an_association
from tests.support.sites import nbma

PAIR = nbma(2), nbma(3)


def a_table(*ids: int) -> Associations:
    table = Associations()
    for each in ids:
        assert table.add(an_association(3, id=each), now=float(each))
    return table


def test_a_pair_is_there_while_it_has_an_sa() -> None:
    table = a_table()
    assert PAIR not in table
    assert table.of(PAIR) == ()
    assert table.since(PAIR) is None
    table = a_table(5)
    assert PAIR in table
    assert (nbma(3), nbma(2)) not in table
    assert table.remove(PAIR, 5)
    assert PAIR not in table
    assert table.since(PAIR) is None


def test_rekeying_keeps_the_pair_and_its_age() -> None:
    table = a_table(5, 6)
    assert table.since(PAIR) == 5.0
    assert not table.remove(PAIR, 5)
    assert table.of(PAIR) == (an_association(3, id=6),)
    assert table.since(PAIR) == 5.0
    assert table.remove(PAIR, 6)


def test_an_sa_that_is_not_known_goes_in_vain() -> None:
    table = a_table(5)
    assert not table.remove(PAIR, 9)
    assert not table.remove((nbma(2), nbma(4)), 5)
    assert PAIR in table


def test_the_same_word_again_is_no_news() -> None:
    table = a_table(5)
    assert not table.add(an_association(3, id=5), now=9.0)
    assert table.since(PAIR) == 5.0


def test_the_newest_is_last_also_when_only_its_identity_is_new() -> None:
    table = a_table(5, 6)
    renamed = an_association(3, id=5, identity="other.example")
    assert table.add(renamed, now=9.0)
    assert table.of(PAIR) == (an_association(3, id=6), renamed)
