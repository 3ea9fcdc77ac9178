import trio

from nhrpd_py.core.events import LinkGone
from nhrpd_py.runtime.inbox import Inbox


async def test_batches_come_out_whole_and_in_order():
    inbox = Inbox()
    assert inbox.offer([LinkGone(1), LinkGone(2)])
    await inbox.put([LinkGone(3)])
    assert len(inbox) == 2
    assert await inbox.take() == [LinkGone(1), LinkGone(2)]
    assert await inbox.take() == [LinkGone(3)]


async def test_offers_to_a_full_inbox_are_counted_and_dropped():
    inbox = Inbox(limit=1)
    assert inbox.offer([LinkGone(1)])
    assert not inbox.offer([LinkGone(2), LinkGone(3)])
    assert (inbox.dropped_batches, inbox.dropped_events) == (1, 2)


async def test_puts_wait_for_room(autojump_clock):
    inbox = Inbox(limit=1)
    await inbox.put([LinkGone(1)])
    with trio.move_on_after(1) as waited:
        await inbox.put([LinkGone(2)])
    assert waited.cancelled_caught


async def test_empty_batches_are_nothing():
    inbox = Inbox()
    assert inbox.offer([])
    await inbox.put([])
    assert len(inbox) == 0
