"""Frames, requests, streams and events of a VICI connection."""

import struct
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from vici.protocol import Message, Packet

from nhrpd_py.runtime.vici.wire.connection import (
    FRAME_LIMIT,
    CommandChannel,
    Section,
    ViciConnection,
    ViciError,
    ViciLostError,
    ViciRefusedError,
    dial,
)


def frame(kind: int, message: Section | None = None, event: str = "") -> bytes:
    name = bytes([len(event)]) + event.encode() if event else b""
    body = bytes([kind]) + name + (b"" if message is None else Message.serialize(message))
    return struct.pack("!I", len(body)) + body


def ends() -> tuple[ViciConnection, trio.abc.Stream]:
    ours, theirs = trio.testing.memory_stream_pair()
    return ViciConnection(ours), theirs


async def test_an_event_before_the_answer_is_kept(autojump_clock) -> None:
    connection, charon = ends()
    await charon.send_all(frame(Packet.EVENT, {"up": "yes"}, "ike-updown"))
    await charon.send_all(frame(Packet.CMD_RESPONSE, {"version": "5.9.8"}))
    assert await connection.request("version") == {"version": b"5.9.8"}
    assert await connection.next_event() == ("ike-updown", {"up": b"yes"})


async def test_frames_that_come_octet_by_octet(autojump_clock) -> None:
    connection, charon = ends()
    octets = frame(Packet.CMD_RESPONSE, {"version": "5.9.8"})

    async def drip() -> None:
        for octet in octets:
            await charon.send_all(bytes([octet]))
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        assert await connection.request("version") == {"version": b"5.9.8"}


async def test_frames_that_are_there_cost_no_deadline(
    autojump_clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """charon's log of a negotiation is twenty of them, and each look at the clock costs."""
    connection, charon = ends()
    await charon.send_all(b"".join(frame(Packet.EVENT, {"n": str(n)}, "log") for n in range(20)))
    monkeypatch.setattr(trio, "fail_after", lambda _: pytest.fail("a deadline"))
    for number in range(20):
        assert await connection.next_event() == ("log", {"n": str(number).encode()})


async def test_a_stream_is_collected_to_its_end(autojump_clock) -> None:
    connection, charon = ends()
    await charon.send_all(
        frame(Packet.EVENT_CONFIRM)
        + frame(Packet.EVENT, {"a": {"uniqueid": "1"}}, "list-sa")
        + frame(Packet.EVENT, {"b": {"uniqueid": "2"}}, "list-sa")
        + frame(Packet.CMD_RESPONSE, {})
        + frame(Packet.EVENT_CONFIRM)
    )
    items = await connection.stream("list-sas", "list-sa")
    assert [next(iter(each)) for each in items] == ["a", "b"]


async def test_a_refusal_is_told_in_the_words_of_charon_and_the_connection_is_well(
    autojump_clock,
) -> None:
    connection, charon = ends()
    await charon.send_all(frame(Packet.CMD_RESPONSE, {"success": "no", "errmsg": "not today"}))
    with pytest.raises(ViciRefusedError, match="not today"):
        await connection.request("initiate")
    await charon.send_all(frame(Packet.CMD_UNKNOWN))
    with pytest.raises(ViciRefusedError, match="no command dance"):
        await connection.request("dance")
    assert not connection.closed


async def test_a_cancelled_request_ends_the_connection(autojump_clock) -> None:
    connection, _charon = ends()
    with trio.move_on_after(0.5):
        await connection.request("version")
    assert connection.closed
    with pytest.raises(ViciLostError, match="is closed"):
        await connection.request("version")


async def test_an_answer_that_never_comes(autojump_clock) -> None:
    connection, _charon = ends()
    with pytest.raises(ViciLostError, match="did not answer version in 5 s"):
        await connection.request("version")


async def test_requests_wait_for_their_turn(autojump_clock) -> None:
    connection, charon = ends()
    answers: list[Section] = []

    async def ask() -> None:
        answers.append(await connection.request("version"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await charon.send_all(2 * frame(Packet.CMD_RESPONSE, {}))
    assert len(answers) == 2


@pytest.mark.parametrize(
    "octets",
    [
        struct.pack("!I", FRAME_LIMIT + 1),
        struct.pack("!I", 0),
        struct.pack("!I", 1) + b"\x63",
        struct.pack("!I", 2) + bytes([Packet.CMD_RESPONSE, Message.SECTION_END]),
        struct.pack("!I", 2) + bytes([Packet.CMD_RESPONSE, Message.KEY_VALUE]),
    ],
    ids=["too long", "empty", "unknown type", "section end", "cut"],
)
async def test_nonsense_ends_the_connection(autojump_clock, octets: bytes) -> None:
    connection, charon = ends()
    await charon.send_all(octets)
    with pytest.raises(ViciLostError):
        await connection.request("version")
    assert connection.closed


async def test_the_end_in_the_middle_of_a_frame(autojump_clock) -> None:
    connection, charon = ends()
    await charon.send_all(frame(Packet.CMD_RESPONSE, {"version": "5.9.8"})[:-3])
    await charon.aclose()
    with pytest.raises(ViciLostError, match="closed the connection"):
        await connection.request("version")


async def test_what_vici_cannot_carry_is_refused_before_it_is_sent(autojump_clock) -> None:
    connection, _charon = ends()
    with pytest.raises(ViciRefusedError, match="too long"):
        await connection.request("load-conn", {"x": b"1" * 70000})
    assert not connection.closed


async def test_what_is_wrong_with_the_socket(tmp_path: Path) -> None:
    with pytest.raises(ViciError, match=r"no such socket.*systemctl start strongswan"):
        await dial(str(tmp_path / "none"))
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(tmp_path / "stale"))
    sock.close()
    with pytest.raises(ViciError, match="nobody listens"):
        await dial(str(tmp_path / "stale"))
    (tmp_path / "file").touch()
    with pytest.raises(ViciError, match=r"no socket|nobody listens"):
        await dial(str(tmp_path / "file"))


async def test_a_channel_for_commands_opens_anew_until_it_is_closed(tmp_path: Path) -> None:
    opened: list[trio.abc.Stream] = []

    async def answer(stream: trio.abc.Stream) -> None:
        opened.append(stream)
        with suppress(trio.ClosedResourceError):
            async for _ in stream:
                await stream.send_all(frame(Packet.CMD_RESPONSE, {"version": "5.9.8"}))

    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(tmp_path / "vici"))
    sock.listen(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(sock)])
        channel = CommandChannel(str(tmp_path / "vici"))
        await channel.request("version")
        await opened[0].aclose()
        with pytest.raises(ViciLostError, match="closed the connection"):
            await channel.request("version")
        await channel.request("version")
        assert len(opened) == 2
        await channel.aclose()
        with pytest.raises(ViciLostError, match="is over"):
            await channel.request("version")
        nursery.cancel_scope.cancel()


async def test_a_frame_that_stops_half_way_is_not_waited_for(autojump_clock) -> None:
    ours, charon = ends()
    await charon.send_all(frame(Packet.CMD_RESPONSE, {"version": "5.9.8"})[:9])
    with pytest.raises(ViciLostError, match="stopped amid a packet"):
        await ours.next_event()
