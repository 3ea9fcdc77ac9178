"""Notices: the stable keys of the log."""

import inspect

import pytest

from nhrpd_py.core import filter_notices, notices
from nhrpd_py.core.address import parse_prefix
from nhrpd_py.core.notices import (
    KernelRefusal,
    Notice,
    PacketDropped,
    RegistrationAccepted,
    ShortcutRemoved,
    TableFull,
)
from tests.support.sites import nbma, tunnel

ALL = [
    each
    for module in (notices, filter_notices)
    for _, each in inspect.getmembers(module, inspect.isclass)
    if issubclass(each, Notice) and each not in (Notice, notices.PeerNotice)
]


@pytest.mark.parametrize("kind", ALL, ids=lambda each: each.__name__)
def test_event_is_a_noun_and_a_participle_that_no_other_notice_has(kind) -> None:
    noun, participle = kind.event.split(".")
    assert noun.isalpha()
    assert participle.isalpha()
    assert kind.level in ("debug", "info", "warning", "error")
    assert [each.event for each in ALL].count(kind.event) == 1


def test_addresses_and_prefixes_become_text() -> None:
    notice = RegistrationAccepted(
        interface="gre1", protocol=tunnel(2), nbma=nbma(2), holding_time_s=60
    )
    assert notice.as_dict() == {
        "interface": "gre1",
        "protocol": "10.255.255.2",
        "nbma": "192.168.100.2",
        "holding_time_s": 60,
        "previous_nbma": None,
    }
    removed = ShortcutRemoved(interface="gre1", prefix=parse_prefix("172.16.3.0/24"), reason="x")
    assert removed.as_dict()["prefix"] == "172.16.3.0/24"


def test_plain_values_stay_as_they_are() -> None:
    assert TableFull(interface="gre1", table="cache", limit=3).as_dict()["limit"] == 3
    dropped = PacketDropped(interface="gre1", reason="no-route")
    assert dropped.as_dict() == {"interface": "gre1", "reason": "no-route", "nbma": None}


def test_values_of_other_types_become_text() -> None:
    odd = KernelRefusal(interface="gre1", what=ValueError("x"), error="e")  # type: ignore[arg-type]
    assert odd.as_dict()["what"] == "x"
