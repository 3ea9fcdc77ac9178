"""Each effect reaches the adapter that serves it, in order."""

import errno

import pytest

from nhrpd_py.core.address import Prefix
from nhrpd_py.core.config import IpsecConfig
from nhrpd_py.core.effects import (
    AnswerCommand,
    CloseInterface,
    DropNeighbor,
    DropRoute,
    DropSa,
    Effect,
    Halt,
    OpenInterface,
    ProtectedGre,
    ResolveName,
    SendPacket,
    SetNeighbor,
    SetRoute,
    WantSa,
)
from nhrpd_py.core.events import BindingFound, InterfaceRefused
from nhrpd_py.core.notices import NhsUp
from nhrpd_py.runtime.executor import Executor
from nhrpd_py.runtime.guard.policies import GuardError

PEER = bytes([10, 0, 0, 1])
NBMA = bytes([192, 0, 2, 1])
LAN = Prefix(bytes([10, 1, 0, 0]), 16)
UP = NhsUp(interface="gre1", protocol=PEER, nbma=NBMA, name="hub")
FOUND = BindingFound(5, PEER, NBMA, remaining_s=9.0)


class World:
    """Every adapter at once: writes down what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.open_error: OSError | None = None
        self.guard_error: GuardError | None = None

    def open(self, ifindex: int) -> None:
        if self.open_error is not None:
            raise self.open_error
        self.calls.append(("open", ifindex))

    def protect(self, name: str, ifindex: int, gre: ProtectedGre) -> None:
        if self.guard_error is not None:
            raise self.guard_error
        self.calls.append(("protect", name, ifindex, gre))

    def __getattr__(self, name: str):
        return lambda *arguments: self.calls.append((name, *arguments))


def an_executor(world: World, known: list[BindingFound] | None = None) -> Executor:
    return Executor(
        packets=world,
        multicast=world,
        kernel=world,
        guard=world,
        filters=world,
        supervisor=world,
        resolve=world.resolve,
        answer=world.answer,
        publish=world.publish,
        recall=lambda _ifindex, _name: known or [],
        report=world.report,
    )


def test_the_guard_hears_of_a_pair_of_addresses_before_charon() -> None:
    world = World()
    ipsec = IpsecConfig(profile="dmvpn")
    want = WantSa(ipsec=ipsec, local=NBMA, remote=PEER, server=True, interface="gre1")
    drop = DropSa("dmvpn", NBMA, PEER, "gre1")
    an_executor(world).execute([want, drop])
    assert world.calls == [
        ("uses", "gre1", NBMA, PEER),
        ("want", want),
        ("leaves", "gre1", NBMA, PEER),
        ("drop", drop),
    ]


def test_effects_are_carried_out_in_their_order() -> None:
    world = World()
    answer = AnswerCommand(1, 2)
    effects: list[Effect] = [
        UP,
        SetNeighbor(5, PEER, NBMA),
        SendPacket(5, NBMA, b"x"),
        SetRoute(LAN, 5, PEER),
        DropRoute(LAN, 5),
        DropNeighbor(5, PEER),
        ResolveName("hub"),
        answer,
        CloseInterface(5),
        UP,
    ]
    assert an_executor(world).execute(effects) is False
    assert world.calls == [
        ("publish", UP),
        ("set_neighbor", SetNeighbor(5, PEER, NBMA)),
        ("send", 5, NBMA, b"x"),
        ("set_route", SetRoute(LAN, 5, PEER)),
        ("drop_route", DropRoute(LAN, 5)),
        ("drop_neighbor", DropNeighbor(5, PEER)),
        ("resolve", "hub"),
        ("answer", answer),
        ("close", 5),
        ("close", 5),
        ("close_interface", CloseInterface(5)),
        ("publish", UP),
    ]


def test_halt_is_told_to_the_pump_once_everything_before_and_after_it_is_done() -> None:
    world = World()
    assert an_executor(world).execute([Halt(), SendPacket(5, NBMA, b"x")]) is True
    assert world.calls == [("send", 5, NBMA, b"x")]


def test_what_an_earlier_run_knew_is_reported_before_the_kernel_is_asked() -> None:
    world = World()
    an_executor(world, [FOUND]).execute([OpenInterface(5, "gre1")])
    assert world.calls == [
        ("open", 5),
        ("report", [FOUND]),
        ("open_interface", OpenInterface(5, "gre1")),
    ]


def test_an_interface_that_cannot_be_received_from_is_refused_with_the_reason() -> None:
    world = World()
    world.open_error = OSError(errno.ENODEV, "No such device")
    an_executor(world).execute([OpenInterface(5, "gre1")])
    assert world.calls == [
        ("report", [InterfaceRefused(5, "cannot receive packets: No such device")])
    ]


def test_a_protected_tunnel_is_opened_after_its_guard_stands() -> None:
    world = World()
    an_executor(world).execute(
        [OpenInterface(5, "gre1", ProtectedGre(input_key=42, output_key=42, ipv6=False))]
    )
    gre = ProtectedGre(input_key=42, output_key=42)
    assert world.calls[:2] == [("protect", "gre1", 5, gre), ("open", 5)]


def test_a_tunnel_whose_guard_does_not_stand_stays_closed() -> None:
    world = World()
    world.guard_error = GuardError("no clear-text guard: CAP_NET_ADMIN is missing")
    effects: list[Effect] = [
        OpenInterface(5, "gre1", ProtectedGre(input_key=42, output_key=42, ipv6=False))
    ]
    an_executor(world).execute(effects)
    reason = "no clear-text guard: CAP_NET_ADMIN is missing"
    refusal = InterfaceRefused(5, reason, exposed=True)
    assert world.calls == [("report", [refusal])]


def test_an_effect_that_nobody_serves_is_a_bug_not_a_shrug() -> None:
    with pytest.raises(TypeError, match="no adapter carries out int"):
        an_executor(World()).execute([7])  # type: ignore[list-item]
