"""The outbox: drops that are counted, and notices that are given once a minute."""

from nhrpd_py.core.base.outbox import REMINDER_INTERVAL_S, Outbox
from nhrpd_py.core.notices import TableFull
from nhrpd_py.packet.wire import DropReason

FULL = TableFull(interface="gre1", table="cache", limit=3)


def test_drops_are_counted_by_interface_and_reason() -> None:
    outbox = Outbox()
    outbox.count_drop("gre1", DropReason.NO_ROUTE)
    outbox.count_drop("gre1", DropReason.NO_ROUTE)
    outbox.count_drop(None, DropReason.UNKNOWN_INTERFACE)
    assert outbox.drops == {
        ("gre1", DropReason.NO_ROUTE): 2,
        (None, DropReason.UNKNOWN_INTERFACE): 1,
    }


def test_reminder_is_given_once_a_minute_for_each_key() -> None:
    outbox = Outbox()
    effects = outbox.begin()
    outbox.remind("a", FULL, 0.0)
    outbox.remind("a", FULL, REMINDER_INTERVAL_S - 1)
    outbox.remind("b", FULL, REMINDER_INTERVAL_S - 1)
    outbox.remind("a", FULL, REMINDER_INTERVAL_S)
    assert effects == [FULL] * 3


def test_effects_of_the_next_event_are_a_list_of_their_own() -> None:
    outbox = Outbox()
    first = outbox.begin()
    outbox.emit(FULL)
    second = outbox.begin()
    assert (first, second) == ([FULL], [])
