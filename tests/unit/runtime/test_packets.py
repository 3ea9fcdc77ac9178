"""What needs no tunnel; tests/lab/test_kernel.py sends packets through real ones."""

import contextlib
import errno
import socket
import struct
from collections import Counter

import pytest
import trio

from nhrpd_py.core.events import PacketReceived
from nhrpd_py.runtime import packets as packets_module
from nhrpd_py.runtime import sources as sources_module
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.packets import BATCH, SOCKADDR_SIZE, PacketSockets, _Batch

NBMA, NBMA6 = bytes((192, 0, 2, 1)), bytes(range(16))


@pytest.fixture
def batch(monkeypatch):
    """A batch whose next `read` finds the given (data, source, packet type, flags)."""
    batch = _Batch()

    def given(*packets):
        def recvmmsg(_fd, _messages, limit, _flags, _timeout):
            assert len(packets) <= limit
            for slot, (data, source, kind, flags) in enumerate(packets):
                name = struct.pack("=H2siHBB", 17, b"\x20\x01", 5, 778, kind, len(source)) + source
                at = slot * SOCKADDR_SIZE
                batch._names[at : at + len(name)] = name
                at = slot * packets_module.SLOT_SIZE
                batch._data[at : at + len(data)] = data
                batch._messages[slot].length = len(data)
                batch._messages[slot].header.flags = flags
            return len(packets)

        monkeypatch.setattr(packets_module, "_recvmmsg", recvmmsg)
        counters: Counter[str] = Counter()
        with socket.socketpair()[0] as sock:
            return *batch.read(sock, 5, counters, 0.0), counters

    return given


@pytest.fixture(autouse=True)
def no_litter(monkeypatch):
    """Closes both ends of the socketpairs that only lend a file descriptor."""
    pairs = []
    real = socket.socketpair

    def socketpair(*arguments):
        pairs.append(real(*arguments))
        return pairs[-1]

    monkeypatch.setattr(socket, "socketpair", socketpair)
    yield
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_outer_sources_of_both_families_are_taken_as_given(batch):
    found, filled, counters = batch((b"one", NBMA, 0, 0), (b"two", NBMA6, 0, 0))
    assert found == [PacketReceived(5, NBMA, b"one"), PacketReceived(5, NBMA6, b"two")]
    assert filled == 2
    assert not counters


def test_what_cannot_be_an_nhrp_packet_of_a_peer_is_dropped_and_counted(batch):
    found, filled, counters = batch(
        (b"ours", NBMA, packets_module.PACKET_OUTGOING, 0),
        (b"ethernet", bytes(6), 0, 0),
        (b"long", NBMA, 0, packets_module.MSG_TRUNC),
        (b"good", NBMA, 0, 0),
    )
    assert [event.data for event in found] == [b"good"]
    assert filled == 4
    assert counters == {"no-nbma-source": 1, "oversized": 1}


def test_flood_of_one_source_is_cut_before_it_gets_into_the_queue(batch, monkeypatch):
    monkeypatch.setattr(sources_module, "BURST", 3.0)
    flood = [(b"flood", NBMA, 0, 0)] * 60
    found, filled, counters = batch(*flood, (b"honest", NBMA6, 0, 0))
    assert [event.data for event in found] == [b"flood"] * 3 + [b"honest"]
    assert filled == 61
    assert counters == {"source-limited": 57}


def test_errors_of_the_system_call_are_raised_but_nothing_to_read_is_none():
    counters: Counter[str] = Counter()
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    assert _Batch().read(ours, 5, counters, 0.0) == ([], 0)
    ours.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        _Batch().read(ours, 5, counters, 0.0)


def test_unopened_interfaces_send_nothing():
    sockets = PacketSockets(Inbox())
    sockets.send(5, NBMA, b"packet")
    sockets.close(5)
    assert sockets.counters == {"send_closed": 1}


def test_an_interface_that_does_not_exist_cannot_be_opened():
    with pytest.raises(OSError):  # noqa: PT011 (ENXIO or ENODEV)
        PacketSockets(Inbox()).open(0x7FFFFFFF)


async def test_a_real_socket_on_the_loopback_link():
    inbox, loopback = Inbox(), socket.if_nametoindex("lo")
    sockets = PacketSockets(inbox)
    try:
        sockets.open(loopback)
    except PermissionError:
        pytest.skip("needs CAP_NET_RAW")
    async with trio.open_nursery() as nursery:
        await nursery.start(sockets.run)
        for _ in range(BATCH + 6):
            sockets.send(loopback, bytes(6), b"packet")
        with contextlib.suppress(trio.TooSlowError), trio.fail_after(2):
            # Ethernet addresses are none
            while sockets.drops["lo"]["no-nbma-source"] < BATCH + 6:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert sockets.counters["sent"] == BATCH + 6
        assert sockets.drops == {"lo": {"no-nbma-source": BATCH + 6}}
        sockets.open(loopback)
        sockets.send(loopback, bytes(6), bytes(70_000))
        assert sockets.counters[f"send_{errno.errorcode[errno.EMSGSIZE]}"] == 1
        assert sockets.drops["lo"]["send-failed"] == 1
        nursery.cancel_scope.cancel()
    assert len(inbox) == 0
