"""A connection to charon's VICI socket: frames, one request at a time, streamed answers, events.

Of the `vici` package only the codec is used (`vici.protocol`), which knows no sockets. Requests and
events use separate connections, so that an answer is never mixed with events. A request that is
cancelled, or has no answer in time, closes its connection: the next answer could belong to either
request.
"""

import contextlib
import errno
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import trio
from vici.exception import DeserializationException
from vici.protocol import Message, Packet

FRAME_LIMIT = 512 * 1024
"""Octets. charon closes the connection after a longer frame, and sends none."""
CONNECT_DEADLINE_S = 3.0
COMMAND_DEADLINE_S = 5.0
STREAM_DEADLINE_S = 15.0
STREAM_LIMIT = 65536
"""Items of one streamed answer."""
FRAME_DEADLINE_S = 5.0
"""How long a frame may take after its first octet."""
BACKLOG_LIMIT = 4096
"""Events that may come between two registrations."""
LENGTH = struct.Struct("!I")
READ_SIZE = 65536

Section: TypeAlias = Mapping[str, Any]
"""A decoded message: names with octets, lists of octets, or sections."""


class ViciError(Exception):
    """charon cannot be reached, or refused; the text is a sentence with the reason."""


class ViciLostError(ViciError):
    """The VICI connection broke, or could not be made."""


class ViciRefusedError(ViciError):
    """charon answered and refused; the VICI connection is intact."""


def text(value: object, otherwise: str = "") -> str:
    """Returns a value as text; `otherwise` where it is missing, a list or a section."""
    return value.decode(errors="replace") if isinstance(value, bytes) else otherwise


def number(value: object) -> int:
    """Returns a value as a number; 0 where it is none."""
    try:
        return int(text(value, "0"), 10)
    except ValueError:
        return 0


def sections(message: object) -> list[tuple[str, Section]]:
    """Returns the sections of a message with their names; none where a value stands in place of a section."""
    if not isinstance(message, Mapping):
        return []
    return [(name, value) for name, value in message.items() if isinstance(value, Mapping)]


def encode(message: Section) -> bytes:
    """Encodes a message. Raises ViciRefusedError for names and values that are too long for VICI."""
    try:
        return bytes(Message.serialize(message))
    except (struct.error, UnicodeError) as error:
        raise ViciRefusedError(f"a name or value is too long for VICI ({error})") from error


def decode(stream: Any) -> Section:
    """Decodes a message. Raises ViciLostError for octets that are none."""
    try:
        decoded: Section = Message.deserialize(stream)
    except (struct.error, DeserializationException, UnicodeError) as error:
        raise ViciLostError(f"charon sent a malformed message ({error})") from error
    return decoded


class Frames:
    """Sends and receives packets, each after its length, over a stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def send(self, packet: bytes) -> None:
        """Sends one packet. Raises ViciLostError, and ViciRefusedError for a packet that is too long."""
        if len(packet) > FRAME_LIMIT:
            raise ViciRefusedError(f"a message of {len(packet)} octets is too long for VICI")
        try:
            await self._stream.send_all(LENGTH.pack(len(packet)) + packet)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ViciLostError("charon closed the connection") from error

    async def receive(self) -> bytes:
        """Returns the next packet. It may be cancelled as long as no frame has begun.

        Raises ViciLostError at the end of the stream, for a frame that is too long, and for one that is
        not complete in time.
        """
        if not self._buffer:
            await self._read()
        await self._wait_for(LENGTH.size)
        (length,) = LENGTH.unpack_from(self._buffer)
        if not 0 < length <= FRAME_LIMIT:
            raise ViciLostError(f"charon sent a frame of {length} octets")
        end = LENGTH.size + length
        await self._wait_for(end)
        taken = bytes(self._buffer[LENGTH.size : end])
        del self._buffer[:end]
        return taken

    async def _wait_for(self, size: int) -> None:
        """Waits until so many octets are there. Of those that are, no deadline is made: charon's log is many frames."""
        if len(self._buffer) >= size:
            return
        try:
            with trio.fail_after(FRAME_DEADLINE_S):
                while len(self._buffer) < size:
                    await self._read()
        except trio.TooSlowError as error:
            raise ViciLostError("charon stopped amid a packet") from error

    async def _read(self) -> None:
        try:
            octets = await self._stream.receive_some(READ_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ViciLostError("charon closed the connection") from error
        if not octets:
            raise ViciLostError("charon closed the connection")
        self._buffer += octets

    async def aclose(self) -> None:
        await self._stream.aclose()


async def dial(path: str) -> trio.SocketStream:
    """Connects to a socket. Raises ViciLostError with the problem and its remedy."""
    try:
        with trio.fail_after(CONNECT_DEADLINE_S):
            return await trio.open_unix_socket(path)
    except trio.TooSlowError as error:
        raise ViciLostError(f"{path}: charon takes no connection (is it stuck?)") from error
    except (OSError, ValueError) as error:
        raise ViciLostError(f"{path}: {_hint(error)}") from error


def _hint(error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.ENOENT:
            return "no such socket: strongSwan does not run (systemctl start strongswan)"
        case errno.ECONNREFUSED:
            return "nobody listens: strongSwan has stopped (systemctl start strongswan)"
        case errno.EACCES | errno.EPERM:
            return (
                "permission denied: the socket must belong to the daemon's user"
                " (strongswan.service.d/nhrpd.conf sees to it whenever charon starts)"
            )
        case errno.ENOTSOCK | errno.EPROTOTYPE:
            return "is no socket of charon's"
        case _:
            return str(getattr(error, "strerror", None) or error)


class ViciConnection:
    """A VICI connection: carries requests of several tasks one after the other, or events for one task."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._frames = Frames(stream)
        self._lock = trio.Lock()
        self._backlog: deque[tuple[str, Section]] = deque()
        self.closed = False
        self._loss = "the connection to charon is closed"
        """Why, for those who wait for their turn."""

    @classmethod
    async def open(cls, path: str) -> "ViciConnection":
        """Connects to charon. Raises ViciLostError."""
        return cls(await dial(path))

    async def aclose(self) -> None:
        self.closed = True
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await self._frames.aclose()

    async def request(
        self, command: str, message: Section | None = None, deadline_s: float = COMMAND_DEADLINE_S
    ) -> Section:
        """Returns charon's answer. Raises ViciRefusedError for `success: no`, and ViciLostError."""
        packet = Packet.request(command, encode(message or {}))
        async with self._turn(command, deadline_s):
            answer = await self._ask(packet, command, None)
        return _checked(answer, command)

    async def stream(
        self, command: str, event: str, message: Section | None = None
    ) -> list[Section]:
        """Returns all items of a streamed answer. Raises ViciRefusedError and ViciLostError."""
        packet = Packet.request(command, encode(message or {}))
        items: list[Section] = []
        async with self._turn(command, STREAM_DEADLINE_S):
            if not await self._register(event):
                raise ViciRefusedError(f"charon knows no {event}")
            answer = await self._ask(packet, command, (event, items))
            await self._send_and_wait(Packet.unregister_event(event))
        _checked(answer, command)
        return items

    async def register(self, event: str) -> bool:
        """Asks for an event; returns False where charon does not know it. Raises ViciLostError."""
        async with self._turn(f"registration of {event}", COMMAND_DEADLINE_S):
            return await self._register(event)

    async def unregister(self, event: str) -> None:
        async with self._turn(f"registration of {event}", COMMAND_DEADLINE_S):
            await self._send_and_wait(Packet.unregister_event(event))

    async def next_event(self) -> tuple[str, Section]:
        """Waits for the next registered event, without a deadline. Raises ViciLostError."""
        if self._backlog:
            await trio.lowlevel.checkpoint()
            return self._backlog.popleft()
        while True:
            packet = _parse(await self._frames.receive())
            if packet.response_type == Packet.EVENT:
                return text(packet.event_type), decode(packet.payload)

    @contextlib.asynccontextmanager
    async def _turn(self, what: str, deadline_s: float) -> Any:
        """Lets one request through at a time; an interrupted one closes the connection."""
        async with self._lock:
            if self.closed:
                raise ViciLostError(self._loss)
            try:
                with trio.fail_after(deadline_s):
                    yield
            except trio.TooSlowError as error:
                self._loss = f"charon did not answer {what} in {deadline_s:g} s"
                await self.aclose()
                raise ViciLostError(self._loss) from error
            except ViciRefusedError:
                raise
            except BaseException:
                await self.aclose()
                raise

    async def _register(self, event: str) -> bool:
        answer = await self._send_and_wait(Packet.register_event(event))
        return answer == int(Packet.EVENT_CONFIRM)

    async def _send_and_wait(self, packet: bytes) -> int:
        """Sends a registration; returns the type of the confirmation."""
        await self._frames.send(packet)
        while True:
            answer = _parse(await self._frames.receive())
            if answer.response_type in {Packet.EVENT_CONFIRM, Packet.EVENT_UNKNOWN}:
                return int(answer.response_type)
            self._keep(answer)

    async def _ask(
        self, packet: bytes, command: str, items: tuple[str, list[Section]] | None
    ) -> Section:
        await self._frames.send(packet)
        while True:
            answer = _parse(await self._frames.receive())
            if answer.response_type == Packet.CMD_RESPONSE:
                return decode(answer.payload)
            if answer.response_type == Packet.CMD_UNKNOWN:
                raise ViciRefusedError(f"charon knows no command {command}")
            if items is not None and answer.response_type == Packet.EVENT:
                event, collected = items
                if text(answer.event_type) == event:
                    if len(collected) >= STREAM_LIMIT:
                        raise ViciLostError(f"more than {STREAM_LIMIT} answers to {command}")
                    collected.append(decode(answer.payload))
                    continue
            self._keep(answer)

    def _keep(self, packet: Any) -> None:
        """Keeps an event that came before the answer for `next_event`."""
        if packet.response_type != Packet.EVENT:
            raise ViciLostError(f"charon sent an unexpected packet of type {packet.response_type}")
        if len(self._backlog) >= BACKLOG_LIMIT:
            raise ViciLostError("too many events")
        self._backlog.append((text(packet.event_type), decode(packet.payload)))


def _parse(frame: bytes) -> Any:
    try:
        return Packet.parse(frame)
    except struct.error as error:
        raise ViciLostError(f"charon sent a malformed packet ({error})") from error


def _checked(answer: Section, command: str) -> Section:
    if text(answer.get("success"), "yes") != "yes":
        raise ViciRefusedError(text(answer.get("errmsg")) or f"charon refused {command}")
    return answer


class CommandChannel:
    """Carries commands to charon: a connection that is opened when needed, and again after it
    broke."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection: ViciConnection | None = None
        self._opening = trio.Lock()
        self._closed = False

    async def request(self, command: str, message: Section | None = None) -> Section:
        """Raises ViciError."""
        return await (await self._open()).request(command, message)

    async def stream(
        self, command: str, event: str, message: Section | None = None
    ) -> Sequence[Section]:
        """Raises ViciError."""
        return await (await self._open()).stream(command, event, message)

    async def aclose(self) -> None:
        """Closes the channel for good."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def _open(self) -> ViciConnection:
        async with self._opening:
            if self._connection is None or self._connection.closed:
                self._connection = await ViciConnection.open(self.path)
            if self._closed:  # perhaps while it was opened
                await self._connection.aclose()
                raise ViciLostError("the session with charon is over")
            return self._connection
