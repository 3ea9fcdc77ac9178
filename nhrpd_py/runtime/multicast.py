"""Copies of multicast packets, out of the tunnels: one packet, as many outer destinations as it has targets.

`sendmmsg` gives the kernel a packet and up to a thousand addresses in one call, without a copy of
the packet for each: the messages of a tunnel are made once for each tuple of targets, and all point
to the packet at hand. A socket sends the first copies at once. What remains is sent by a task of
its own, so that NHRP goes on meanwhile, in the order of the packets; when the socket's buffer is
full it waits, and goes on where it was, so that no target gets a copy twice or none.
"""

import ctypes
import errno
import socket
from collections import Counter, defaultdict, deque
from contextlib import suppress

import trio

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import SendMulticast
from nhrpd_py.runtime.buffers import set_send_buffer
from nhrpd_py.runtime.mmsg import MESSAGE_SIZE, IoVector, Message
from nhrpd_py.runtime.packets import SEND_FAILED, SOCKADDR_LL, SOCKADDR_SIZE

CHUNK = 128
"""Copies sent in one go; then other tasks run."""
MAX_WAITING = 256
"""Packets of one tunnel that wait for their turn; a further one is dropped whole."""
SEND_BUFFER = 8 << 20
"""Octets of socket buffer: room for the copies that are still in the queues of the underlay."""
CONGESTION_PAUSE_S = 0.005
PATIENCE = 40
"""How often one packet waits for the tunnel's own queue (ENOBUFS) before copies are given up."""
SMALLEST_ADDRESS = 20
"""The kernel requires a whole struct sockaddr_ll."""

OVERLOAD = "multicast-overload"
MULTICAST_SEND_FAILED = f"multicast-{SEND_FAILED}"
"""Reasons of lost copies that the engine never sees; the values are metric labels."""


_sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class _Messages:
    """The messages for one tuple of targets, with one place for the packet that all of them carry."""

    def __init__(self, ifindex: int, protocol_type: int, targets: tuple[Address, ...]) -> None:
        self.targets = targets
        self._places: dict[Address, int] | None = None
        self._vector = IoVector()
        self._names = bytearray(len(targets) * SOCKADDR_SIZE)
        self._messages = (Message * len(targets))()
        names = ctypes.addressof(ctypes.c_char.from_buffer(self._names))
        vector = ctypes.pointer(self._vector)
        protocol = protocol_type.to_bytes(2)
        for place, target in enumerate(targets):
            at = place * SOCKADDR_SIZE
            SOCKADDR_LL.pack_into(
                self._names, at, socket.AF_PACKET, protocol, ifindex, 0, 0, len(target)
            )
            at += SOCKADDR_LL.size
            self._names[at : at + len(target)] = target
            header = self._messages[place].header
            header.name = names + place * SOCKADDR_SIZE
            header.name_length = max(SMALLEST_ADDRESS, SOCKADDR_LL.size + len(target))
            header.vector = vector
            header.vector_length = 1
        self._first = ctypes.addressof(self._messages)

    def place_of(self, target: Address) -> int:
        """Returns the place of a target; one behind the last for an address that is none."""
        if self._places is None:
            self._places = {each: place for place, each in enumerate(self.targets)}
        return self._places.get(target, len(self.targets))

    def send(self, descriptor: int, data: bytes, start: int, end: int) -> int:
        """Sends the packet to the targets from `start` on, up to `end`; returns how many got it.

        -1: none, and ctypes has the errno.
        """
        self._vector.base = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
        self._vector.length = len(data)
        first = self._first + start * MESSAGE_SIZE
        sent: int = _sendmmsg(descriptor, first, end - start, socket.MSG_DONTWAIT)
        return sent


class _Job:
    """A packet on its way to its targets: those before `at` have it, or will not get it."""

    __slots__ = ("apart", "at", "data", "messages", "patience")

    def __init__(self, messages: _Messages, effect: SendMulticast) -> None:
        self.messages = messages
        self.data = effect.data
        self.at = 0
        self.apart = messages.place_of(effect.apart_from) if effect.apart_from else -1
        self.patience = PATIENCE
        if self.apart == 0:
            self.at = 1

    @property
    def done(self) -> bool:
        return self.at >= len(self.messages.targets)

    @property
    def left(self) -> int:
        """How many targets are still to get it."""
        total = len(self.messages.targets)
        return total - self.at - (self.at <= self.apart < total)

    @property
    def end(self) -> int:
        """Up to which target the next call may go."""
        end = min(self.at + CHUNK, len(self.messages.targets))
        return self.apart if self.at <= self.apart < end else end

    def pass_on(self, count: int) -> None:
        """Goes on behind so many targets."""
        self.at += count
        if self.at == self.apart:
            self.at += 1


class _Outlet:
    """The sending socket of one tunnel."""

    def __init__(self, name: str, ifindex: int, sock: socket.socket) -> None:
        self.name = name
        self.ifindex = ifindex
        self.socket = sock
        self.jobs: deque[_Job] = deque()
        self._messages: dict[int, _Messages] = {}
        """By ethertype."""

    def job(self, effect: SendMulticast) -> _Job:
        messages = self._messages.get(effect.protocol_type)
        if messages is None or messages.targets is not effect.targets:
            messages = _Messages(self.ifindex, effect.protocol_type, effect.targets)
            self._messages[effect.protocol_type] = messages
        return _Job(messages, effect)


def packet_socket() -> socket.socket:
    """Returns a socket that sends and gets nothing. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    try:
        set_send_buffer(sock, SEND_BUFFER)
    except BaseException:
        sock.close()
        raise
    return sock


class MulticastSender:
    """Sends copies of multicast packets through all tunnels, by ifindex.

    Counters: sent, waited, and `send_` with an errno name. `drops` counts lost copies by interface
    and reason.
    """

    def __init__(self) -> None:
        self._outlets: dict[int, _Outlet] = {}
        self._nursery: trio.Nursery | None = None
        self.counters: Counter[str] = Counter()
        self.drops: defaultdict[str, Counter[str]] = defaultdict(Counter)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sends what could not be sent at once, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for ifindex in list(self._outlets):
                self.close(ifindex)

    def send(self, effect: SendMulticast) -> None:
        """Sends the first copies of a packet, and has the rest sent; never waits."""
        outlet = self._outlets.get(effect.ifindex)
        if outlet is None:
            try:
                outlet = self._open(effect)
            except OSError as error:
                self._lose(effect.interface, error.errno or 0, len(effect.targets))
                return
        job = outlet.job(effect)
        if not outlet.jobs:
            self._advance(outlet, job)
            if job.done:
                return
            if self._nursery is not None:
                self._nursery.start_soon(self._send_rest, outlet)
        elif len(outlet.jobs) >= MAX_WAITING:
            self.drops[outlet.name][OVERLOAD] += job.left
            return
        outlet.jobs.append(job)

    def close(self, ifindex: int) -> None:
        """Closes the socket of a tunnel; what waits for it is lost."""
        outlet = self._outlets.pop(ifindex, None)
        if outlet is not None:
            left = sum(job.left for job in outlet.jobs)
            if left:
                self._lose(outlet.name, errno.ENETDOWN, left)
            outlet.jobs.clear()
            with suppress(RuntimeError):  # outside of trio nobody waits for it
                trio.lowlevel.notify_closing(outlet.socket)
            outlet.socket.close()

    def _open(self, effect: SendMulticast) -> _Outlet:
        outlet = _Outlet(effect.interface, effect.ifindex, packet_socket())
        self._outlets[effect.ifindex] = outlet
        return outlet

    async def _send_rest(self, outlet: _Outlet) -> None:
        """Sends what waits, in its order, until nothing does."""
        while outlet.jobs:
            job = outlet.jobs[0]
            code = self._advance(outlet, job)
            if job.done:
                outlet.jobs.popleft()
            try:
                if code == errno.EAGAIN:
                    self.counters["waited"] += 1
                    await trio.lowlevel.wait_writable(outlet.socket)
                elif code == errno.ENOBUFS:
                    self.counters["waited"] += 1
                    await trio.sleep(CONGESTION_PAUSE_S)
                else:
                    await trio.lowlevel.checkpoint()
            except trio.ClosedResourceError:
                return

    def _advance(self, outlet: _Outlet, job: _Job) -> int:
        """Sends the next copies of a packet. Returns an errno if they have to wait, else 0."""
        start = job.at
        while not job.done and job.at < start + CHUNK:
            sent = job.messages.send(outlet.socket.fileno(), job.data, job.at, job.end)
            if sent > 0:
                self.counters["sent"] += sent
                job.pass_on(sent)
                continue
            code = ctypes.get_errno()
            if code == errno.EINTR:
                continue
            if code == errno.EAGAIN:
                return code
            if code == errno.ENOBUFS:
                if job.patience:
                    job.patience -= 1
                    return code
                self._lose(outlet.name, code, 1)
                job.pass_on(1)
                continue
            self._lose(outlet.name, code, job.left)  # the reason is the same for all of them
            job.at = len(job.messages.targets)
        return 0

    def _lose(self, name: str, code: int, copies: int) -> None:
        self.counters[f"send_{errno.errorcode.get(code, code)}"] += copies
        self.drops[name][MULTICAST_SEND_FAILED] += copies
