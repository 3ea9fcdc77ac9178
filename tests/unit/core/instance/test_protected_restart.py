"""Restarts with IPsec: the kernel's entries and the saved clients wait for what charon tells."""

from typing import Any

from nhrpd_py.core.effects import Effect, SendPacket
from nhrpd_py.core.events import (
    AddressRemoved,
    BindingFound,
    Event,
)
from nhrpd_py.packet.iana import PacketType
from tests.support import inspect
from tests.support.engine import Node, sent, the
from tests.support.ipsec import (
    IPSEC,
    READY,
    a_protected_hub,
    failed,
    installed,
    kernel,
    wishes,
)
from tests.support.messages import (
    a_registration_request,
)
from tests.support.sites import (
    GRE,
    LAN,
    UNDERLAY,
    a_link,
    a_tunnel_link,
    an_address,
    an_interface,
    nbma,
    tunnel,
)


def found(number: int = 3, **fields: Any) -> BindingFound:
    return BindingFound(GRE, tunnel(number), nbma(number), **fields)


def a_restarted_hub(*events: BindingFound) -> tuple[Node, list[Effect]]:
    """A new daemon that does not know charon's SAs yet."""
    hub = Node(an_interface(redirect=True, ipsec=IPSEC), events=_events_of_a_hub())
    return hub, list(hub.give(*events, now=1.0))


def _events_of_a_hub() -> list[Event]:
    return [
        a_link(),
        an_address(UNDERLAY, nbma(1), 24),
        a_link(LAN, "lan0"),
        a_tunnel_link(),
        an_address(GRE, tunnel(1), 32),
    ]


def test_kernel_entries_of_an_earlier_run_stay_until_charon_has_told() -> None:
    hub, effects = a_restarted_hub(found())
    assert kernel(effects) == ["+ 10.255.255.3 at 192.168.100.3", "+ 10.255.255.3/32"]
    assert sent(effects) == []
    assert kernel(hub.give(installed(3, local=1), READY, now=2.0)) == []


def test_adopted_clients_are_asked_to_register_when_charon_has_told() -> None:
    """They were asked before, in vain, and not again."""
    hub, _ = a_restarted_hub(found())
    assert sent(hub.advance(1.5)) == []
    hub.give(installed(3, local=1), READY, now=2.0)
    hint = the(sent(hub.advance(3.0), PacketType.PURGE_REQUEST))
    assert hint.destination_protocol == tunnel(3)
    assert inspect.drops(hub.engine) == {}


def test_each_adopted_client_has_one_turn_to_be_asked() -> None:
    """Whoever was counted again with each SA put the others off, and those of later days for ever."""
    numbers = range(2, 102)
    hub, _ = a_restarted_hub(*map(found, numbers))
    hub.give(*(installed(each, local=1) for each in numbers), READY, now=1.1)
    asked = sent(hub.run(2.3), PacketType.PURGE_REQUEST)
    assert len(asked) == len(numbers)


def test_kernel_entries_of_an_earlier_run_without_an_sa_go_and_their_clients_are_called_back() -> (
    None
):
    hub, _ = a_restarted_hub(found())
    effects = hub.give(READY, now=2.0)
    assert kernel(effects) == ["- 10.255.255.3/32", "- 10.255.255.3"]
    assert wishes(effects) == ["want 192.168.100.3"]
    assert hub.give(READY, now=3.0) == []


def test_kernel_entry_found_after_charon_has_told_goes_at_once() -> None:
    """It stayed, led into the guard, and looked like a client that is there."""
    hub, _ = a_restarted_hub()
    hub.give(READY, now=1.0)
    effects = hub.give(found(), now=2.0)
    assert kernel(effects) == ["- 10.255.255.3"]
    assert wishes(effects) == ["want 192.168.100.3"]


def test_recalled_clients_are_called_back_after_a_reboot_unless_behind_nat() -> None:
    hub, _ = a_restarted_hub()
    hub.give(READY, now=1.0)
    effects = hub.give(
        found(3, remaining_s=50.0),
        found(4, remaining_s=50.0, claimed_nbma=bytes([10, 0, 0, 1])),
        now=2.0,
    )
    assert wishes(effects) == ["want 192.168.100.3"]
    assert list(hub.cache()) == ["10.255.255.3"]
    effects = hub.give(installed(3, local=1), now=3.0)
    assert "+ 10.255.255.3 at 192.168.100.3" in kernel(effects)
    assert wishes(hub.receive(a_registration_request(3), nbma(3), now=3.1)) == [
        "drop 192.168.100.3"
    ]


def test_recalled_client_that_cannot_be_called_is_forgotten() -> None:
    hub, _ = a_restarted_hub()
    hub.give(READY, found(3, remaining_s=50.0), now=2.0)
    assert wishes(hub.give(failed(3, local=1), now=12.0)) == ["drop 192.168.100.3"]
    assert hub.cache() == {}


def test_recalled_clients_are_called_again_when_the_tunnel_comes_back() -> None:
    """They were not, and their bindings lingered without a circuit to their end."""
    hub, _ = a_restarted_hub()
    hub.give(READY, found(3, remaining_s=50.0), now=2.0)
    assert wishes(hub.give(a_tunnel_link(up=False), now=3.0)) == ["drop 192.168.100.3"]
    assert wishes(hub.give(a_tunnel_link(), now=4.0)) == ["want 192.168.100.3"]


def test_hub_that_moves_calls_its_clients_from_its_new_address() -> None:
    hub = a_protected_hub(2, 3)
    effects = hub.give(
        an_address(UNDERLAY, nbma(9), 24), AddressRemoved(UNDERLAY, nbma(1), 24), now=5.0
    )
    assert wishes(effects) == ["want 192.168.100.2", "want 192.168.100.3"]
    assert [each for each in effects if isinstance(each, SendPacket)] == []
    assert "+ 10.255.255.2 at 192.168.100.2" in kernel(hub.give(installed(2, local=9), now=6.0))
