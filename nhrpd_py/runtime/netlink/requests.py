"""The request socket: changes without acknowledgement, single requests with one, and dumps.

One reader task sorts the answers by sequence number. Changes carry sequence 0 and no NLM_F_ACK: the
kernel reports only failures, and its report contains the failed request. rtnetlink carries a
datagram out before `send` returns, so that no wait is needed to keep the order.
"""

import errno
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import trio

from nhrpd_py.runtime.netlink.socket import (
    ERROR_CODE,
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    MalformedError,
    Message,
    NetlinkError,
    NetlinkSocket,
    error_of,
    error_text,
    is_overrun,
    message,
    messages,
)

T = TypeVar("T")

REQUEST_TIMEOUT_S = 30.0
"""rtnetlink answers within the system call, and a dump of a million routes takes seconds; after
this time no answer is to be expected.
"""
DUMP_TRIES = 4
"""A dump that the kernel calls inconsistent (NLM_F_DUMP_INTR) is read again; the last one is taken
as it is.
"""
DUMP_RETRY_S = 0.05
DUMP_READS_PER_WAKE = 8
"""A dump datagram may hold 500 routes, 2 ms of work; then others may run."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A change that the kernel refused: the request's message type and payload, the errno, and its
    text."""

    kind: int
    payload: bytes
    error: int
    text: str


@dataclass(slots=True, eq=False)
class _Pending:
    """A request that waits for its answer; `take` is called with the messages of a dump."""

    take: Callable[[int, memoryview], None] | None = None
    done: trio.Event = field(default_factory=trio.Event)
    error: int = 0
    detail: str = ""
    interrupted: bool = False

    def fail(self, code: int, detail: str = "") -> None:
        self.error, self.detail = code, detail
        self.done.set()


OnRefused: TypeAlias = Callable[[Sequence[Refusal]], None]


class Requests:
    """Owns the request socket. Counters: malformed, overruns, dump_retries, dump_interrupted,
    send_failed."""

    def __init__(
        self, sock: NetlinkSocket, on_refused: OnRefused, on_lost: Callable[[], None]
    ) -> None:
        self._socket = sock
        self._on_refused = on_refused
        self._on_lost = on_lost
        self._pending: dict[int, _Pending] = {}
        self._sequence = 0
        self._dumping = trio.Lock()  # the kernel runs one dump per socket
        self._refusals: list[Refusal] = []
        self.counters: Counter[str] = Counter()

    async def run(self) -> None:
        """Reads answers until cancelled; raises EOFError when the socket ends."""
        try:
            while True:
                await self._socket.wait()
                for _ in range(DUMP_READS_PER_WAKE):
                    if not self._read_one():
                        break
                if self._refusals:
                    refusals, self._refusals = self._refusals, []
                    self._on_refused(refusals)
                await trio.lowlevel.checkpoint()
        finally:
            self._fail_all(errno.ECONNRESET)

    def _read_one(self) -> bool:
        try:
            datagram = self._socket.read()
            if datagram is None:
                return False
            for item in messages(datagram):
                self._take(item)
        except MalformedError:
            self.counters["malformed"] += 1
            self._fail_all(errno.EBADMSG)
            self._on_lost()
        except OSError as error:
            if not is_overrun(error):
                raise
            self.counters["overruns"] += 1
            self._fail_all(errno.ENOBUFS)
            self._on_lost()
        return True

    def _fail_all(self, code: int) -> None:
        for pending in self._pending.values():
            pending.fail(code)

    def _take(self, item: Message) -> None:
        kind, flags, sequence, _port, payload = item
        pending = self._pending.get(sequence)
        if kind == NLMSG_ERROR:
            code, request, detail = error_of(flags, payload)
            if pending is not None:
                pending.fail(code, detail)
            elif sequence == 0 and code:
                kind_of_request = HEADER.unpack_from(request)[1]
                body = bytes(request[HEADER.size :])
                self._refusals.append(
                    Refusal(kind_of_request, body, code, error_text(code, detail))
                )
            return
        if pending is None or pending.done.is_set():
            return  # the rest of a dump that was given up
        pending.interrupted |= bool(flags & NLM_F_DUMP_INTR)
        if kind == NLMSG_DONE:
            code = -ERROR_CODE.unpack_from(payload)[0] if len(payload) >= ERROR_CODE.size else 0
            pending.fail(code)
        elif pending.take is not None and kind != NLMSG_NOOP:
            pending.take(kind, payload)

    async def post(self, data: bytes) -> None:
        """Sends packed changes of sequence 0; failures come by `on_refused`, or `on_lost` where the
        kernel takes none of them (it is out of memory)."""
        try:
            await self._socket.send(data)
        except OSError:
            self.counters["send_failed"] += 1
            self._on_lost()

    async def ask(self, kind: int, flags: int, payload: bytes, what: str) -> None:
        """Sends one request and waits for its acknowledgement. Raises NetlinkError."""
        await self._exchange(kind, NLM_F_REQUEST | NLM_F_ACK | flags, payload, what, _Pending())

    async def get(
        self, kind: int, payload: bytes, what: str, read: Callable[[memoryview], T | None]
    ) -> T | None:
        """Sends one request and returns what `read` makes of its answer; None where there is none, or
        a malformed one. Raises NetlinkError.
        """
        result: list[T | None] = []

        def take(_kind: int, body: memoryview) -> None:
            try:
                result.append(read(body))
            except MalformedError:
                self.counters["malformed"] += 1

        flags = NLM_F_REQUEST | NLM_F_ACK
        await self._exchange(kind, flags, payload, what, _Pending(take))
        return result[0] if result else None

    async def barrier(self) -> None:
        """Returns when the answers to everything posted so far have been read."""
        await self.ask(NLMSG_NOOP, 0, b"", "barrier")

    async def dump(
        self, kind: int, payload: bytes, what: str, read: Callable[[memoryview], T | None]
    ) -> list[T]:
        """Reads a whole table; `read` decodes a message, or returns None to skip it. Raises
        NetlinkError.
        """
        result: list[T] = []

        def take(_kind: int, body: memoryview) -> None:
            try:
                value = read(body)
            except MalformedError:  # one odd entry must not hide the others
                self.counters["malformed"] += 1
                return
            if value is not None:
                result.append(value)

        flags = NLM_F_REQUEST | NLM_F_DUMP
        async with self._dumping:
            for tries_left in reversed(range(DUMP_TRIES)):
                result.clear()
                pending = _Pending(take)
                try:
                    await self._exchange(kind, flags, payload, what, pending)
                except NetlinkError as error:
                    again = error.errno in (errno.EINTR, errno.EBUSY, errno.ENOBUFS, errno.EBADMSG)
                    if not tries_left or not again:
                        raise
                else:
                    if not pending.interrupted:
                        break
                    if not tries_left:
                        self.counters["dump_interrupted"] += 1
                        break
                self.counters["dump_retries"] += 1
                await trio.sleep(DUMP_RETRY_S)
        return result

    async def _exchange(
        self, kind: int, flags: int, payload: bytes, what: str, pending: _Pending
    ) -> None:
        self._sequence = sequence = self._sequence % 0xFFFFFFFF + 1
        self._pending[sequence] = pending
        try:
            with trio.move_on_after(REQUEST_TIMEOUT_S):
                await self._socket.send(message(kind, flags, payload, sequence))
                await pending.done.wait()
        except OSError as error:
            self.counters["send_failed"] += 1
            raise NetlinkError(error.errno or errno.EIO, what) from error
        finally:
            del self._pending[sequence]
        if not pending.done.is_set():
            raise NetlinkError(errno.ETIMEDOUT, what)
        if pending.error:
            raise NetlinkError(pending.error, what, pending.detail)
