"""The sender of copies, over a kernel that is scripted; tests/lab/test_multicast.py sends through real tunnels."""

import ctypes
import errno
import os
import socket
from collections import Counter

import pytest
import trio
import trio.lowlevel
import trio.testing

from nhrpd_py.core.effects import SendMulticast
from nhrpd_py.runtime import multicast
from nhrpd_py.runtime.mmsg import Message
from nhrpd_py.runtime.multicast import CHUNK, MAX_WAITING, MulticastSender
from nhrpd_py.runtime.packets import SOCKADDR_LL

IFINDEX = 5
THOUSAND = tuple(bytes([192, 0, number // 250, number % 250 + 1]) for number in range(1000))


def effect(targets=THOUSAND, data=b"hello", apart_from=b"", ifindex=IFINDEX, protocol=0x0800):
    return SendMulticast("gre1", ifindex, protocol, targets, apart_from, data)


class Kernel:
    """Takes the messages of `sendmmsg`; `answers` are what it says first: how many it takes, or an errno."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, bytes]] = []
        self.kinds: set[tuple[int, bytes, int]] = set()
        self.answers: list[int | OSError] = []
        self.calls = 0

    def sendmmsg(self, _descriptor, first, count, flags):
        assert flags == socket.MSG_DONTWAIT
        self.calls += 1
        answer = self.answers.pop(0) if self.answers else count
        if isinstance(answer, OSError):
            ctypes.set_errno(answer.errno or 0)
            return -1
        for place in range(min(answer, count)):
            header = Message.from_address(first + place * 64).header  # struct mmsghdr has 64 octets
            name = ctypes.string_at(header.name, header.name_length)
            family, protocol, ifindex, _, _, size = SOCKADDR_LL.unpack_from(name)
            assert len(name) >= 20
            self.kinds.add((family, protocol, ifindex))
            vector = header.vector.contents
            data = ctypes.string_at(vector.base, vector.length)
            self.got.append((name[SOCKADDR_LL.size :][:size], data))
        return min(answer, count)

    def of(self, data: bytes) -> list[bytes]:
        """Who got a packet, in order."""
        return [target for target, each in self.got if each == data]


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    others = []

    def a_socket():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        others.append(theirs)
        return ours

    monkeypatch.setattr(multicast, "_sendmmsg", kernel.sendmmsg)
    monkeypatch.setattr(multicast, "packet_socket", a_socket)
    yield kernel
    for each in others:
        each.close()


@pytest.fixture
async def sender(kernel, nursery):
    sender = MulticastSender()
    await nursery.start(sender.run)
    yield sender
    nursery.cancel_scope.cancel()


async def settle(sender: MulticastSender) -> None:
    with trio.fail_after(30):
        while any(each.jobs for each in sender._outlets.values()):  # noqa: ASYNC110 (it signals nothing)
            await trio.sleep(0.001)


async def test_each_of_a_thousand_targets_gets_one_copy_of_each_packet(kernel, sender) -> None:
    packets = [b"packet %d" % number for number in range(20)]
    for data in packets:
        sender.send(effect(data=data))
    await settle(sender)
    for data in packets:
        assert kernel.of(data) == list(THOUSAND)
    assert [data for _, data in kernel.got[::1000]] == packets  # in their order
    assert kernel.kinds == {(socket.AF_PACKET, b"\x08\x00", IFINDEX)}
    assert sender.counters == {"sent": 20_000}
    assert not sender.drops


async def test_a_few_targets_are_served_at_once(kernel, sender) -> None:
    sender.send(effect(THOUSAND[:3], protocol=0x86DD))
    assert kernel.got == [(target, b"hello") for target in THOUSAND[:3]]
    assert kernel.kinds == {(socket.AF_PACKET, b"\x86\xdd", IFINDEX)}
    assert kernel.calls == 1


async def test_targets_of_the_ipv6_underlay_have_their_whole_address(kernel, sender) -> None:
    targets = (bytes(range(16)), bytes(range(1, 17)))
    sender.send(effect(targets))
    assert [target for target, _ in kernel.got] == list(targets)


@pytest.mark.parametrize("place", [0, 1, CHUNK - 1, CHUNK, 500, 999])
async def test_the_one_that_a_packet_came_from_gets_none(kernel, sender, place) -> None:
    sender.send(effect(apart_from=THOUSAND[place]))
    await settle(sender)
    assert kernel.of(b"hello") == [each for each in THOUSAND if each != THOUSAND[place]]


async def test_one_who_is_no_target_is_left_out_without_effect(kernel, sender) -> None:
    sender.send(effect(THOUSAND[:3], apart_from=b"\x0a\0\0\1"))
    assert len(kernel.got) == 3


async def test_other_targets_have_other_messages(kernel, sender) -> None:
    sender.send(effect(THOUSAND[:2]))
    sender.send(effect(THOUSAND[5:8]))
    assert [target for target, _ in kernel.got] == [*THOUSAND[:2], *THOUSAND[5:8]]


async def test_a_full_buffer_is_waited_for_and_nothing_is_lost_or_doubled(kernel, sender) -> None:
    kernel.answers = [50, OSError(errno.EAGAIN, ""), 7, OSError(errno.EINTR, ""), 1]
    kernel.answers += [OSError(errno.EAGAIN, ""), OSError(errno.ENOBUFS, ""), 3]
    for data in (b"first", b"second"):
        sender.send(effect(data=data))
    assert len(kernel.got) == 50
    await settle(sender)
    assert [data for _, data in kernel.got] == [b"first"] * 1000 + [b"second"] * 1000
    assert kernel.of(b"first") == kernel.of(b"second") == list(THOUSAND)
    assert sender.counters == {"sent": 2000, "waited": 2}  # the first EAGAIN ended `send`


async def test_a_queue_that_stays_full_costs_copies_and_is_counted(
    kernel, sender, autojump_clock
) -> None:
    kernel.answers = [OSError(errno.ENOBUFS, "")] * (multicast.PATIENCE + 2)
    sender.send(effect(THOUSAND[:3]))
    await settle(sender)
    assert kernel.got == [(THOUSAND[2], b"hello")]
    assert sender.drops == {"gre1": Counter({"multicast-send-failed": 2})}
    assert sender.counters["send_ENOBUFS"] == 2


@pytest.mark.parametrize("code", [errno.EMSGSIZE, errno.ENETDOWN, errno.ENXIO])
async def test_what_the_kernel_refuses_is_counted_for_all_that_are_left(
    kernel, sender, code
) -> None:
    kernel.answers = [5, OSError(code, os.strerror(code))]
    sender.send(effect(apart_from=THOUSAND[700]))
    await settle(sender)
    assert len(kernel.got) == 5
    assert sender.counters == {"sent": 5, f"send_{errno.errorcode[code]}": 994}
    assert sender.drops == {"gre1": Counter({"multicast-send-failed": 994})}


async def test_packets_that_come_faster_than_they_leave_are_dropped_whole(kernel, sender) -> None:
    for number in range(MAX_WAITING + 3):
        sender.send(effect(data=b"%d" % number, apart_from=THOUSAND[7]))
    assert sender.drops == {"gre1": Counter({"multicast-overload": 3 * 999})}
    await settle(sender)
    assert kernel.got[-1] == (THOUSAND[-1], b"%d" % (MAX_WAITING - 1))
    assert sender.counters["sent"] == MAX_WAITING * 999


async def test_what_waits_for_a_tunnel_that_is_closed_is_counted(kernel, sender) -> None:
    kernel.answers = [OSError(errno.EAGAIN, "")]
    sender.send(effect())
    sender.close(IFINDEX)
    sender.close(IFINDEX)
    await trio.testing.wait_all_tasks_blocked()
    assert kernel.got == []
    assert sender.drops == {"gre1": Counter({"multicast-send-failed": 1000})}
    sender.send(effect(THOUSAND[:1]))  # open again
    assert len(kernel.got) == 1


async def test_closing_while_it_waits_ends_the_wait(kernel, sender, monkeypatch) -> None:
    waiting = trio.Event()

    async def never(sock):
        waiting.set()
        await trio.lowlevel.wait_readable(sock)

    monkeypatch.setattr(trio.lowlevel, "wait_writable", never)
    kernel.answers = [OSError(errno.EAGAIN, "")] * 3
    sender.send(effect())
    with trio.fail_after(5):
        await waiting.wait()
    sender.close(IFINDEX)
    await trio.testing.wait_all_tasks_blocked()
    assert sender.drops == {"gre1": Counter({"multicast-send-failed": 1000})}


async def test_without_a_socket_copies_are_lost_and_counted(sender, monkeypatch) -> None:
    def refused():
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(multicast, "packet_socket", refused)
    sender.send(effect(THOUSAND[:4]))
    assert sender.counters == {"send_EPERM": 4}
    assert sender.drops == {"gre1": Counter({"multicast-send-failed": 4})}
