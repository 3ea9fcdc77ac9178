"""What must be true of a node of a network after every event, whatever happened."""

from typing import TYPE_CHECKING

from nhrpd_py.core.address import host_prefix
from tests.support import inspect

if TYPE_CHECKING:
    from tests.support.network import Node


def check(node: "Node", now: float, *, fully: bool) -> None:
    """What must be true after every event; `fully`: also of what the engine holds."""
    engine = node.engine
    deadline = engine.next_deadline()
    assert deadline is None or deadline > now, "a timer at or before now"
    if not fully or node.ifindex not in node.opened:
        return
    bindings = inspect.bindings(engine)
    interim = inspect.interim_neighbors(engine)
    led = {to: nbma for to, nbma in interim.items() if to not in bindings}
    led |= {to: each.leads_to for to, each in bindings.items() if each.leads_to}
    assert {address: entry[0] for address, entry in node.neighbors.items()} == led, (
        "neighbours and bindings differ"
    )
    for protocol, binding in bindings.items():
        assert binding.expires_at > now, "an expired binding"
        inherited = binding.inherited and not node.ike.told
        assert inherited or binding.is_direct == inspect.is_up(engine, binding.nbma), protocol
    wanted = {host_prefix(to) for to, each in bindings.items() if each.routed}
    for way in inspect.ways(engine):
        assert way.is_held, "a shortcut without a peer"
        assert way.expires_at > now, "an expired shortcut"
        if way.active:
            wanted.add(way.prefix)
            assert node.routes[way.prefix] == way.peer, "a shortcut without a route"
    assert set(node.routes) == wanted, "routes that nobody wants, or wants in vain"
    if inspect.is_protected(engine):
        check_wishes(node)
    assert inspect.timer_count(engine) <= 4 * (len(bindings) + len(inspect.asked(engine))) + 64


def check_wishes(node: "Node") -> None:
    """Neighbours lead through SAs, and every SA that is asked for has somebody who needs it."""
    own, known = inspect.own_nbma(node.engine), node.ike.known
    if node.ike.told:
        for address, (nbma, _) in node.neighbors.items():
            assert (own, nbma) in known, f"a neighbour without an SA: {address.hex()}"
    assert inspect.idle_wishes(node.engine) == []
    asked = {remote for local, remote in node.ike.wanted if local == own}
    assert asked == inspect.wanted_sas(node.engine), own
    assert not own or len(asked) == len(node.ike.wanted), "a wish from an old address"
