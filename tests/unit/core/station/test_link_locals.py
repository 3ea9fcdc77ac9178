"""The table of entries for link-local addresses."""

from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.effects import DropNeighbor, SetNeighbor
from nhrpd_py.core.station import link_locals
from nhrpd_py.core.station.link_locals import LinkLocalEntries
from tests.support.sites import GRE, ip, nbma

ONE, TWO, THREE = (ip(f"fe80::{number}") for number in (1, 2, 3))


def test_a_full_table_takes_no_more_and_moves_what_it_has(monkeypatch) -> None:
    monkeypatch.setattr(link_locals, "MAX_ENTRIES", 2)
    outbox = Outbox()
    entries = LinkLocalEntries(outbox)
    for address in (ONE, TWO, THREE):
        entries.lead(GRE, address, nbma(2))
    assert outbox.effects == [SetNeighbor(GRE, each, nbma(2)) for each in (ONE, TWO)]
    outbox.begin()
    entries.lead(GRE, ONE, nbma(3))
    assert outbox.effects == [SetNeighbor(GRE, ONE, nbma(3))]


def test_what_leads_to_a_peer_that_is_gone_goes_and_the_rest_stays() -> None:
    outbox = Outbox()
    entries = LinkLocalEntries(outbox)
    entries.lead(GRE, ONE, nbma(2))
    entries.lead(GRE, TWO, nbma(3))
    outbox.begin()
    entries.left(nbma(2))
    entries.left(nbma(2))
    assert outbox.effects == [DropNeighbor(GRE, ONE)]
    entries.forget()
    entries.left(nbma(3))
    assert outbox.effects == [DropNeighbor(GRE, ONE)]
