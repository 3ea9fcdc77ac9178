"""Sends requests to the kernel's IPsec, and reads notifications about its policies and its
counters.

Nothing here waits: the kernel carries a request out and queues its answer before `send` returns,
and extends a dump with each read. So a policy is in force when the call returns, and a caller that
must not send before needs no task and no event.
"""

import errno
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import trio

from nhrpd_py.runtime.netlink.socket import (
    ERROR_CODE,
    NETLINK_XFRM,
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
    is_overrun,
    message,
    messages,
    open_netlink,
)
from nhrpd_py.runtime.netlink.xfrm import (
    IPPROTO_ESP,
    POLICY_ID_SIZE,
    XFRM_MSG_GETPOLICY,
    XFRM_MSG_GETSA,
    XFRMNLGRP_POLICY,
    Policy,
    State,
    read_policy,
    read_state,
)

Read = TypeVar("Read")

DUMP_TRIES = 4
"""A dump that the kernel calls inconsistent (NLM_F_DUMP_INTR) is read again; the last one is taken
as it is.
"""
STATISTICS = Path("/proc/net/xfrm_stat")


class Xfrm:
    """Sends requests to the kernel's IPsec. No method waits. Counters: malformed, overruns,
    dump_retries."""

    def __init__(self, sock: NetlinkSocket) -> None:
        self._socket = sock
        self._sequence = 0
        self.counters: Counter[str] = Counter()

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: int, payload: bytes, what: str) -> None:
        """Makes one change. Raises NetlinkError."""
        self._exchange(kind, NLM_F_ACK, payload, what, lambda _item: None)

    def policies(self) -> list[Policy]:
        """Returns the policies of the main database. Raises NetlinkError."""
        return self._dump(XFRM_MSG_GETPOLICY, bytes(POLICY_ID_SIZE), "policies", read_policy)

    def states(self) -> list[State]:
        """Returns all security associations. Raises NetlinkError."""
        return self._dump(XFRM_MSG_GETSA, b"", "states", read_state)

    def _dump(
        self, kind: int, payload: bytes, what: str, read: Callable[[memoryview], Read | None]
    ) -> list[Read]:
        result: list[Read] = []

        def take(item: Message) -> None:
            try:
                value = read(item[4])
            except MalformedError:  # one odd entry must not hide the others
                self.counters["malformed"] += 1
                return
            if value is not None:
                result.append(value)

        for _ in range(DUMP_TRIES):
            result.clear()
            if not self._exchange(kind, NLM_F_DUMP, payload, what, take):
                break
            self.counters["dump_retries"] += 1
        return result

    def _exchange(
        self, kind: int, flags: int, payload: bytes, what: str, take: Callable[[Message], None]
    ) -> bool:
        """Sends a request and reads its whole answer; returns whether it was inconsistent."""
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        request = message(kind, NLM_F_REQUEST | flags, payload, self._sequence)
        try:
            self._socket.send_now(request)
            return self._read_answer(what, take)
        except NetlinkError:
            raise
        except MalformedError as error:
            self.counters["malformed"] += 1
            raise NetlinkError(errno.EBADMSG, what, str(error)) from error
        except OSError as error:
            self.counters["overruns"] += is_overrun(error)
            raise NetlinkError(error.errno or errno.EIO, what) from error

    def _read_answer(self, what: str, take: Callable[[Message], None]) -> bool:
        interrupted = False
        while True:
            datagram = self._socket.read()
            if datagram is None:
                raise NetlinkError(errno.ENODATA, what, "the kernel gave no answer")
            for item in messages(datagram):
                kind, flags, sequence, _port, payload = item
                if sequence != self._sequence:
                    continue  # the rest of an abandoned dump
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if kind == NLMSG_ERROR:
                    code, _request, detail = error_of(flags, payload)
                    if code:
                        raise NetlinkError(code, what, detail)
                    return interrupted
                if kind == NLMSG_DONE:
                    code = (
                        -ERROR_CODE.unpack_from(payload)[0]
                        if len(payload) >= ERROR_CODE.size
                        else 0
                    )
                    if code:
                        raise NetlinkError(code, what)
                    return interrupted
                if kind != NLMSG_NOOP:
                    take(item)


def open_xfrm() -> Xfrm:
    """Opens the request socket; the kernel loads `xfrm_user` by itself. Raises OSError."""
    return Xfrm(open_netlink(NETLINK_XFRM))


async def esp_pairs() -> set[tuple[bytes, bytes]]:
    """Returns the (source, destination) of all ESP associations of the kernel. Raises OSError.

    The kernel answers at once. Only called while charon is away.
    """
    await trio.lowlevel.checkpoint()
    xfrm = open_xfrm()
    try:
        return {
            (each.source, each.destination)
            for each in xfrm.states()
            if each.protocol == IPPROTO_ESP
        }
    finally:
        xfrm.close()


async def esp_counts() -> dict[tuple[bytes, bytes], tuple[int, int]]:
    """Returns the octets and packets of the kernel's ESP associations, by (source, destination).

    Raises OSError. There may be thousands of them: another thread reads them.
    """
    xfrm = open_xfrm()
    try:
        return await trio.to_thread.run_sync(_counts, xfrm)
    finally:
        xfrm.close()


def _counts(xfrm: Xfrm) -> dict[tuple[bytes, bytes], tuple[int, int]]:
    found: dict[tuple[bytes, bytes], tuple[int, int]] = {}
    for each in xfrm.states():
        if each.protocol == IPPROTO_ESP:
            pair = each.source, each.destination
            octets, packets = found.get(pair, (0, 0))
            found[pair] = octets + each.octets, packets + each.packets
    return found


def open_policy_notifications() -> NetlinkSocket:
    """Opens a socket that gets a notification of every change to the policies. Raises OSError."""
    return open_netlink(NETLINK_XFRM, (XFRMNLGRP_POLICY,))


def read_statistics(path: Path = STATISTICS) -> Mapping[str, int]:
    """Returns the kernel's counters of this network namespace (`XfrmOutPolBlock`…), {} where it
    keeps none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:  # CONFIG_XFRM_STATISTICS is off
        return {}
    pairs = (line.partition("\t") for line in lines)
    return {name.strip(): int(value) for name, _tab, value in pairs if value.strip().isdigit()}
