"""What is reported to the engine arrives, whatever ends in the middle of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import trio
import trio.testing

from nhrpd_py.core.events import Event, IpsecLost, IpsecReady, SaFailed
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.reports import Reports

FIRST, SECOND = (
    SaFailed(local=b"\xc0\0\2\1", remote=bytes((192, 0, 2, last)), reason="", retry_in_s=2.0)
    for last in (2, 3)
)


class NoAttempts:
    def sas_changed(self, events: Sequence[Event]) -> None:
        pass


def a_full_inbox() -> tuple[Inbox, Reports]:
    inbox = Inbox(limit=1)
    assert inbox.offer([IpsecLost("there before")])
    return inbox, Reports(inbox, cast(Any, NoAttempts()))


async def taken(inbox: Inbox) -> list[Event]:
    found: list[Event] = []
    with trio.move_on_after(1):
        while True:
            found += await inbox.take()
    return found[1:]


async def test_a_session_that_ends_while_it_reports_loses_nothing(autojump_clock) -> None:
    inbox, reports = a_full_inbox()
    for event in (FIRST, SECOND):
        with trio.move_on_after(1) as scope:
            await reports.sas([event])
        assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:

        async def next_session() -> None:
            await reports.ready("5.9.8", patched=False)

        nursery.start_soon(next_session)
        assert await taken(inbox) == [FIRST, SECOND, IpsecReady("5.9.8", False)]


async def test_two_that_report_at_once_report_in_turn(autojump_clock) -> None:
    inbox, reports = a_full_inbox()
    async with trio.open_nursery() as nursery:
        for event in (FIRST, SECOND):
            nursery.start_soon(reports.sas, [event])
            await trio.testing.wait_all_tasks_blocked()
        assert await taken(inbox) == [FIRST, SECOND]
