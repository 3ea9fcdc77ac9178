import errno

import pytest
import trio
import trio.lowlevel
import trio.testing

from nhrpd_py.runtime.netlink.requests import Refusal, Requests
from nhrpd_py.runtime.netlink.socket import (
    NLM_F_ACK_TLVS,
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    MalformedError,
    NetlinkError,
    attribute,
    message,
)
from tests.unit.runtime.netlink_peer import ScriptedKernel, a_done, a_pair, an_error

GET = 26


class Bench:
    def __init__(self):
        self.socket, theirs = a_pair()
        self.theirs = theirs
        self.kernel = ScriptedKernel(theirs)
        self.refused: list[Refusal] = []
        self.lost = 0
        self.requests = Requests(self.socket, self.refused.extend, self._lose)

    def _lose(self):
        self.lost += 1

    async def dump(self):
        return await self.requests.dump(GET, b"", "things", bytes)

    def close(self):
        self.socket.close()
        self.theirs.close()


@pytest.fixture
async def bench():
    bench = Bench()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.kernel.run)
        nursery.start_soon(bench.requests.run)
        yield bench
        nursery.cancel_scope.cancel()
    bench.close()


def a_row(sequence, text, flags=0):
    return message(24, NLM_F_MULTI | flags, text, sequence)


async def test_a_dump_of_several_datagrams(bench):
    bench.kernel.scripts[GET] = lambda s: [a_row(s, b"aaaa") + a_row(s, b"bbbb"), a_done(s)]
    assert await bench.dump() == [b"aaaa", b"bbbb"]


async def test_answers_to_others_between_the_rows_are_ignored(bench):
    bench.kernel.scripts[GET] = lambda s: [a_row(s, b"aaaa"), a_row(s + 9, b"xxxx"), a_done(s)]
    assert await bench.dump() == [b"aaaa"]


async def test_an_interrupted_dump_is_read_again(bench, autojump_clock):
    answers = iter([NLM_F_DUMP_INTR, 0])

    def script(sequence):
        flags = next(answers)
        return [a_row(sequence, b"old " if flags else b"new ", flags), a_done(sequence)]

    bench.kernel.scripts[GET] = script
    assert await bench.dump() == [b"new "]
    assert bench.requests.counters == {"dump_retries": 1}


async def test_a_dump_that_is_always_interrupted_is_taken_as_it_is(bench, autojump_clock):
    bench.kernel.scripts[GET] = lambda s: [a_row(s, b"aaaa", NLM_F_DUMP_INTR), a_done(s)]
    assert await bench.dump() == [b"aaaa"]
    assert bench.requests.counters["dump_interrupted"] == 1


async def test_an_error_before_the_end_of_a_dump(bench):
    bench.kernel.scripts[GET] = lambda s: [a_row(s, b"aaaa"), an_error(errno.EPERM, bytes(16), s)]
    with pytest.raises(NetlinkError, match="things: Operation not permitted"):
        await bench.dump()
    bench.kernel.scripts[GET] = lambda s: [a_row(s, b"aaaa") + a_done(s, code=errno.EIO)]
    with pytest.raises(NetlinkError, match="things: Input/output error"):
        await bench.dump()


async def test_half_a_frame_fails_the_dump_which_is_read_again(bench, autojump_clock):
    answers = iter([True, False])

    def script(sequence):
        row = a_row(sequence, b"aaaa")
        return [row[:-3]] if next(answers) else [row + a_done(sequence)]

    bench.kernel.scripts[GET] = script
    assert await bench.dump() == [b"aaaa"]
    assert bench.requests.counters == {"malformed": 1, "dump_retries": 1}
    assert bench.lost == 1


async def test_an_overrun_fails_the_dump_which_is_read_again(bench, autojump_clock):
    bench.kernel.tables[GET] = [b"aaaa"]
    bench.socket.faults.append(OSError(errno.ENOBUFS, "overrun"))
    assert await bench.dump() == [b"aaaa"]
    assert bench.lost == 1
    assert bench.requests.counters["overruns"] == 1


async def test_one_odd_row_does_not_hide_the_others(bench):
    def read(payload):
        if payload == b"odd ":
            raise MalformedError
        return bytes(payload)

    bench.kernel.tables[GET] = [b"aaaa", b"odd ", b"bbbb"]
    assert await bench.requests.dump(GET, b"", "things", read) == [b"aaaa", b"bbbb"]


async def test_silence_ends(bench, autojump_clock):
    bench.kernel.scripts[GET] = lambda _s: []
    with pytest.raises(NetlinkError, match="things: Connection timed out"):
        await bench.dump()


async def test_acknowledged_requests(bench):
    await bench.requests.ask(19, 0, b"", "change")
    await bench.requests.barrier()
    bench.kernel.refuse[19] = errno.ENODEV
    with pytest.raises(NetlinkError, match="change: No such device"):
        await bench.requests.ask(19, 0, b"", "change")


async def test_failed_changes_are_reported_with_what_failed(bench):
    request = message(28, 0, b"wxyz")
    words = attribute(1, b"no\0")
    bench.kernel.scripts[28] = lambda _s: [
        an_error(errno.EINVAL, request, 0, NLM_F_ACK_TLVS, words) + an_error(0, request)
    ]
    await bench.requests.post(request)
    with trio.fail_after(1):
        while not bench.refused:
            await trio.lowlevel.checkpoint()
    [refusal] = bench.refused
    assert (refusal.kind, refusal.payload, refusal.error) == (28, b"wxyz", errno.EINVAL)
    assert refusal.text == "Invalid argument: no"


async def test_a_kernel_that_takes_nothing_for_want_of_memory(bench, autojump_clock):
    def faults(count):
        return [OSError(errno.ENOBUFS, "No buffer space available")] * count

    bench.socket.send_faults = faults(1)
    await bench.requests.post(message(28, 0, b"wxyz"))
    assert (bench.lost, bench.kernel.changes) == (1, [])
    bench.socket.send_faults = faults(1)
    with pytest.raises(NetlinkError, match="change: No buffer space available"):
        await bench.requests.ask(19, 0, b"", "change")
    bench.kernel.scripts[GET] = lambda s: [a_row(s, b"aaaa"), a_done(s)]
    bench.socket.send_faults = faults(2)
    assert await bench.dump() == [b"aaaa"]
    assert bench.requests.counters["send_failed"] == 4


async def test_the_end_of_the_socket_in_a_dump_ends_the_dump(nursery):
    bench = Bench()
    failed = trio.Event()

    async def dump():
        with pytest.raises(NetlinkError, match="Connection reset by peer"):
            await bench.dump()
        failed.set()

    nursery.start_soon(dump)
    await trio.testing.wait_all_tasks_blocked()
    bench.theirs.close()
    with pytest.raises((EOFError, ConnectionResetError)):
        await bench.requests.run()
    with trio.fail_after(1):
        await failed.wait()
    bench.close()
