"""What must be true of a node of a world after every event, whatever happened."""

from typing import TYPE_CHECKING, Any

from nhrpd_py.core.address import Prefix
from nhrpd_py.core.registration.servers import Registration
from nhrpd_py.core.station.binding import Entry

if TYPE_CHECKING:
    from tests.charon import Pair
    from tests.world import Node


def check(node: "Node", now: float, *, fully: bool) -> None:
    """What must be true after every event."""
    engine: Any = node.engine
    deadline = engine.next_deadline()
    assert deadline is None or deadline > now, "a timer at or before now"
    if not fully or node.ifindex not in node.opened:
        return
    instance = node.instance
    circuits = instance.station.circuits
    bindings = {each.protocol: each for each in instance.station.cache}
    led = dict(instance.station.cache.entries._servers)
    programmed = {each.protocol: each.nbma for each in bindings.values() if each.installed}
    assert {address: entry[0] for address, entry in node.neighbors.items()} == led | programmed, (
        "neighbours and bindings differ"
    )
    for protocol, binding in bindings.items():
        assert binding.expires_at > now, "an expired binding"
        inherited = binding.entry is Entry.INHERITED and not node.ike.told
        assert inherited or binding.installed == circuits.is_up(binding.nbma), protocol
    wanted = {Prefix(each.protocol, 32) for each in bindings.values() if each.routed}
    for shortcut in instance.shortcuts:
        assert bindings[shortcut.binding.protocol] is shortcut.binding, "a shortcut without a peer"
        assert shortcut.expires_at > now, "an expired shortcut"
        if shortcut.binding.installed:
            wanted.add(shortcut.prefix)
            assert node.routes[shortcut.prefix] == shortcut.binding.protocol, (
                "a shortcut without a route"
            )
    assert set(node.routes) == wanted, "routes that nobody wants, or wants in vain"
    if circuits.protected:
        check_wishes(node)
    assert len(engine._timers) <= 4 * (len(bindings) + len(instance.requester.resolutions)) + 64


def check_wishes(node: "Node") -> None:
    """Neighbours lead through SAs, and every SA that is asked for has somebody who needs it."""
    instance = node.instance
    circuits = instance.station.circuits
    known: dict[Pair, set[int]] = node.ike.known
    if node.ike.told:
        for address, (nbma, _) in node.neighbors.items():
            assert (circuits.local, nbma) in known, f"a neighbour without an SA: {address.hex()}"
    for remote, circuit in circuits.needed():
        for who in circuit.needed_by:
            if isinstance(who, Registration):
                assert who.nbma == remote
                assert not who.is_idle, "a wish of a server that is not wanted"
                assert who in list(instance.client.servers.registrations()), (
                    "a wish of a forgotten server"
                )
            else:
                assert isinstance(who, bytes)
                binding = instance.station.cache.get(who)
                assert binding is not None, "a wish of no binding"
                assert binding.nbma == remote, "a wish of a binding that moved"
    asked = {remote for local, remote in node.ike.wanted if local == circuits.local}
    assert asked == {remote for remote, _ in circuits.needed()}, (circuits.local, asked)
    assert not circuits.local or len(asked) == len(node.ike.wanted), "a wish from an old address"
