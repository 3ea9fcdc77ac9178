"""Names of next hop servers, looked up beside the pump."""

import socket
import threading

import pytest
import trio

from nhrpd_py.core.events import NameResolved
from nhrpd_py.runtime import resolver
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.resolver import NameResolver, look_up

V4 = bytes([192, 0, 2, 1])
V6 = bytes.fromhex("20010db8000000000000000000000001")


def an_answer(*addresses: str):
    return [
        (
            socket.AF_INET6 if ":" in address else socket.AF_INET,
            socket.SOCK_DGRAM,
            17,
            "",
            (address, 0),
        )
        for address in addresses
    ]


def test_every_address_of_a_name_is_found_once_and_in_order(monkeypatch) -> None:
    answer = an_answer("2001:db8::1", "192.0.2.1", "192.0.2.1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    assert look_up("hub") == ((V6, V4), None)


def test_a_name_that_does_not_exist_is_an_error_in_words(monkeypatch) -> None:
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert look_up("hub") == ((), "Name or service not known")


def test_a_name_that_no_resolver_takes_is_an_error_too() -> None:
    addresses, error = look_up("a" * 70 + ".example")
    assert addresses == ()
    assert error


async def test_two_wishes_for_one_name_are_one_lookup(monkeypatch) -> None:
    looked_up = []
    gate = threading.Event()

    def slow(name: str):
        looked_up.append(name)
        gate.wait(5)
        return (V4,), None

    monkeypatch.setattr(resolver, "look_up", slow)
    inbox = Inbox()
    names = NameResolver(inbox)
    async with trio.open_nursery() as nursery:
        await nursery.start(names.run)
        names.resolve("hub")
        await trio.sleep(0.05)
        names.resolve("hub")
        gate.set()
        assert list(await inbox.take()) == [NameResolved("hub", (V4,), None)]
        names.resolve("hub")
        assert list(await inbox.take()) == [NameResolved("hub", (V4,), None)]
        nursery.cancel_scope.cancel()
    assert looked_up == ["hub", "hub"]


async def test_a_resolver_that_never_answers_is_an_error_after_ten_seconds(
    monkeypatch,
) -> None:
    gate = threading.Event()

    def stuck(name: str):
        gate.wait(5)
        return (V4,), None

    monkeypatch.setattr(resolver, "look_up", stuck)
    monkeypatch.setattr(resolver, "LOOKUP_DEADLINE_S", 0.05)
    inbox = Inbox()
    names = NameResolver(inbox)
    async with trio.open_nursery() as nursery:
        await nursery.start(names.run)
        names.resolve("hub")
        (answer,) = await inbox.take()
        nursery.cancel_scope.cancel()
    gate.set()
    assert isinstance(answer, NameResolved)
    assert answer.addresses == ()
    assert "no answer within" in (answer.error or "")
    assert names.counters == {"lookups": 1, "failures": 1}


@pytest.mark.parametrize("name", ["localhost"])
def test_the_real_resolver_is_asked(name: str) -> None:
    addresses, error = look_up(name)
    assert error is None
    assert bytes([127, 0, 0, 1]) in addresses or bytes(15) + b"\1" in addresses
