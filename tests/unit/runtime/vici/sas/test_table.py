"""The table of CHILD_SAs."""

from dataclasses import replace
from typing import Any

import pytest

from nhrpd_py.core.address import Prefix, parse_address, parse_prefix
from nhrpd_py.core.events import SaGone, SaInstalled
from nhrpd_py.runtime.vici.sas.table import AssociationTable

HERE, THERE = parse_address("192.0.2.1"), parse_address("192.0.2.2")


def child(number: int, *, spi: str = "c0ffee", **fields: str) -> dict[str, bytes]:
    values = {
        "name": "dmvpn",
        "uniqueid": str(number),
        "state": "INSTALLED",
        "mode": "TRANSPORT",
        "spi-in": f"{spi}{number}",
        "spi-out": f"d{number}",
        **{key.replace("_", "-"): value for key, value in fields.items()},
    }
    return {key: value.encode() for key, value in values.items()}


def ike(number: int, *children: dict[str, bytes], **fields: str) -> dict[str, Any]:
    values = {
        "uniqueid": str(number),
        "state": "ESTABLISHED",
        "local-host": "192.0.2.1",
        "remote-host": "192.0.2.2",
        "remote-id": "spoke2",
        **{key.replace("_", "-"): value for key, value in fields.items()},
    }
    result: dict[str, Any] = {key: value.encode() for key, value in values.items()}
    result["child-sas"] = {f"dmvpn-{each['uniqueid'].decode()}": each for each in children}
    return result


def table(*ikes: dict[str, Any]) -> AssociationTable:
    made = AssociationTable(names={"dmvpn"})
    made.listed(ikes)
    return made


def up(**sections: Any) -> dict[str, Any]:
    return {"up": b"yes", **sections}


def test_up_and_down_whatever_the_connection_is_called() -> None:
    it = table()
    (event,) = it.happened("child-updown", up(whatever=ike(1, child(5))))
    assert isinstance(event, SaInstalled)
    assert (event.association.id, event.association.identity) == (5, "spoke2")
    assert it.happened("child-updown", up(whatever=ike(1, child(5)))) == []
    (event,) = it.happened("child-updown", {"other": ike(1, child(5, state="DELETED"))})
    assert event == SaGone(HERE, THERE, 5, "the CHILD_SA was deleted")
    assert it.happened("ike-updown", {"other": ike(1)}) == []


def test_what_is_not_ours_or_not_installed_does_not_count() -> None:
    it = table()
    assert it.happened("child-updown", up(x=ike(1, child(5, name="office")))) == []
    assert it.happened("child-updown", up(x=ike(1, child(5, state="DELETED")))) == []
    assert it.happened("child-updown", up(x=ike(1, child(5), remote_host="%any"))) == []
    assert it.ignored == 1


def test_tunnel_mode_is_never_up() -> None:
    it = table()
    assert it.happened("child-updown", up(x=ike(1, child(5, mode="TUNNEL")))) == []
    ((denied, reason),) = it.denied()
    assert (denied.ike_id, denied.pair) == (1, (HERE, THERE))
    assert "tunnel mode" in reason
    assert not it.is_up((HERE, THERE))
    assert it.denied() == []


def test_a_rekeyed_child_has_its_successor_first() -> None:
    it = table(ike(1, child(5)))
    section = ike(1)
    section["child-sas"] = {"dmvpn": {"old": child(5, state="REKEYED"), "new": child(6)}}
    new, old = it.happened("child-rekey", {"x": section})
    assert isinstance(new, SaInstalled)
    assert new.association.id == 6
    assert old == SaGone(HERE, THERE, 5, "rekeyed")


def test_children_go_with_the_ike_sa_that_took_them_over() -> None:
    it = table(ike(1, child(5)))
    assert it.happened("ike-rekey", {"x": {"old": ike(1), "new": ike(2)}}) == []
    assert it.happened("ike-updown", {"x": ike(1)}) == []
    (event,) = it.happened("ike-updown", {"x": ike(2, state="DELETING")})
    assert isinstance(event, SaGone)


def test_a_peer_that_moves() -> None:
    it = table(ike(1, child(5)))
    moved = {"local-host": b"192.0.2.1", "remote-host": b"192.0.2.99", "(unnamed)": ike(1)}
    new, old = it.happened("ike-update", moved)
    assert isinstance(new, SaInstalled)
    assert new.association.remote == parse_address("192.0.2.99")
    assert isinstance(old, SaGone)
    assert (old.remote, old.id) == (THERE, 5)


def test_a_late_end_of_an_old_sa_leaves_the_new_one() -> None:
    it = table(ike(1, child(5)))
    it.happened("child-updown", up(x=ike(2, child(6))))
    it.happened("child-updown", {"x": ike(1, child(5), state="DELETING")})
    assert it.is_up((HERE, THERE))


def test_the_same_sas_listed_again_are_no_news() -> None:
    it = table(ike(1, child(5)))
    it.orphan_all()
    assert it.listed([ike(1, child(5))]) == []
    assert it.orphans() == []


def test_an_equal_number_of_a_new_charon_is_another_sa() -> None:
    it = table(ike(1, child(5)))
    new, old = it.listed([ike(1, child(5, spi="bad"))])
    assert isinstance(new, SaInstalled)
    assert isinstance(old, SaGone)
    assert old.id == 5
    assert new.association.id == 5 + (1 << 32)
    (gone,) = it.happened("child-updown", {"x": ike(1, child(5, spi="bad"))})
    assert isinstance(gone, SaGone)
    assert gone.id == 5 + (1 << 32)


def test_what_a_list_lacks_is_an_orphan_until_it_is_buried() -> None:
    it = table(ike(1, child(5)))
    assert it.listed([]) == []
    assert not it.is_up((HERE, THERE))
    assert it.bury(lambda _each: None) == []
    assert it.bury(lambda _each: "why") == [SaGone(HERE, THERE, 5, "why")]


def test_two_peers_behind_one_address_are_both_told() -> None:
    it = table(ike(1, child(5)))
    (event,) = it.happened("child-updown", up(x=ike(2, child(6), remote_id="spoke3")))
    assert isinstance(event, SaInstalled)
    assert event.association.identity == "spoke3"
    assert len(it.children((HERE, THERE))) == 2


def test_what_a_certificate_grants_is_news_when_it_is_known_later() -> None:
    """A reload made certificates the policy: until now nobody had asked for them."""
    granted: list[tuple[Prefix, ...]] = []
    it = AssociationTable(
        lambda _identity, _certificate: granted[0] if granted else None, names={"dmvpn"}
    )
    (first,) = it.listed([ike(1, child(5))])
    assert isinstance(first, SaInstalled)
    assert first.association.address_blocks is None
    granted.append((parse_prefix("10.255.255.2"),))
    (again,) = it.listed([ike(1, child(5))])
    assert again == SaInstalled(replace(first.association, address_blocks=granted[0]))
    assert it.listed([ike(1, child(5))]) == []


def test_a_later_list_adds_what_an_earlier_one_left_out_and_ends_nothing() -> None:
    it = table(ike(1, child(5)), ike(2, child(6), remote_host="192.0.2.3"))
    assert it.listed([ike(1, child(5))]) == []
    assert [each.unique_id for each in it.orphans()] == [6]
    late = [ike(2, child(6), remote_host="192.0.2.3"), ike(3, child(7, name="office"))]
    unknown = it.unknown(late)
    assert unknown == late[:1]
    assert it.found(unknown) == []  # the engine has it still
    assert it.orphans() == []
    assert it.is_up((HERE, THERE))
    assert it.unknown(late) == []


def test_the_mark_of_an_sa_is_told_and_stays_when_it_is_rekeyed() -> None:
    it = table()
    (event,) = it.happened("child-updown", up(one=ike(1, child(5, mark_in="0000000a"))))
    assert isinstance(event, SaInstalled)
    assert event.association.mark == 10
    old, new = child(5, mark_in="0000000a"), child(6, mark_in="0000000a")
    message = {"one": ike(1) | {"child-sas": {"dmvpn-5": {"old": old, "new": new}}}}
    (event, _) = it.happened("child-rekey", message)
    assert isinstance(event, SaInstalled)
    assert event.association.mark == 10


@pytest.mark.parametrize(
    ("fields", "mark"),
    [
        ({}, 0),
        ({"mark_in": "ffffffff"}, 0xFFFFFFFF),
        ({"mark_in": "00000010", "mark_mask_in": "ffffffff"}, 16),
        ({"mark_in": "00000010", "mark_mask_in": "000000ff"}, 0),  # several SAs may have it
        ({"mark_in": "odd"}, 0),
    ],
)
def test_what_is_a_mark(fields: dict[str, str], mark: int) -> None:
    (child_sa,) = table(ike(1, child(5, **fields))).children()
    assert child_sa.mark == mark


def test_an_event_without_the_mark_does_not_take_it_away() -> None:
    it = table(ike(1, child(5, mark_in="00000003")))
    assert it.happened("child-updown", up(one=ike(1, child(5)))) == []
    assert [each.mark for each in it.children()] == [3]
