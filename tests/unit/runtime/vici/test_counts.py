"""The kernel's counters of SAs, on their way to the engine."""

import errno

import trio

from nhrpd_py.core.events import SaCount, SasCounted
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.counts import INTERVAL_S, report_counts
from nhrpd_py.runtime.vici.sas.children import Child
from nhrpd_py.runtime.vici.sas.table import AssociationTable

US, PEER, OTHER = b"\1" * 4, b"\2" * 4, b"\3" * 4


def a_child(remote):
    return Child(
        id=1,
        unique_id=1,
        ike_id=1,
        local=US,
        remote=remote,
        identity="peer",
        answered=False,
        spi_in="1",
        spi_out="2",
    )


class Kernel:
    """Answers in turn; an error is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self):
        await trio.lowlevel.checkpoint()
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, OSError):
            raise answer
        return answer


async def reports(table, kernel, seconds):
    """What is reported in so many seconds."""
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_counts, inbox, table, kernel)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return [event for _ in range(len(inbox)) for event in await inbox.take()]


async def test_counters_of_known_pairs_are_reported_every_ten_seconds(autojump_clock):
    table = AssociationTable()
    table._children.put(1, a_child(PEER))
    table._orphans.put(2, a_child(OTHER))
    kernel = Kernel(
        {(US, PEER): (900, 9), (PEER, US): (500, 5), (b"\4" * 4, US): (1, 1)},
        OSError(errno.ENOBUFS, "no room"),
    )
    assert await reports(table, kernel, INTERVAL_S * 2.5) == [
        SasCounted(
            (
                SaCount(
                    local=US,
                    remote=PEER,
                    octets_in=500,
                    octets_out=900,
                    packets_in=5,
                    packets_out=9,
                ),
                SaCount(
                    local=US,
                    remote=OTHER,
                    octets_in=0,
                    octets_out=0,
                    packets_in=0,
                    packets_out=0,
                ),
            )
        )
    ]
    assert kernel.asked == 2


async def test_nobody_is_asked_without_sas(autojump_clock):
    kernel = Kernel()
    assert await reports(AssociationTable(), kernel, INTERVAL_S * 5) == []
    assert kernel.asked == 0
