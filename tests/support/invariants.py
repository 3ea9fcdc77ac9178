"""The invariants of a station of a network, checked after every event."""

from nhrpd_py.core.address import host_prefix
from tests.support import inspect
from tests.support.station import Station


def check(station: Station, now: float, *, fully: bool) -> None:
    """No timer is overdue; `fully`: kernel and engine agree, nothing is expired, no table runs over."""
    engine, afi, kernel, name = station.engine, station.afi, station.kernel, station.name
    deadline = engine.next_deadline()
    assert deadline is None or deadline > now, f"{name}: a timer at or before now"
    if not fully or station.ifindex not in kernel.opened:
        return
    bindings = inspect.bindings(engine, afi)
    led = inspect.interim_neighbors(engine, afi) | inspect.link_local_neighbors(
        engine, station.ifindex
    )
    wanted = set()
    for each in bindings:
        assert each.expires_at > now, f"{name}: an expired binding"
        inherited = each.inherited and not station.ike.told
        assert inherited or each.is_direct == each.may_be_direct, f"{name}: not by its SA"
        led.pop(each.protocol, None)
        if each.leads_to:
            led[each.protocol] = each.leads_to
        if each.routed:
            wanted.add(host_prefix(each.protocol))
    found = {to: kernel.neighbors[to][0] for to in kernel.wanted & kernel.neighbors.keys()}
    assert found == led, f"{name}: neighbours and bindings differ"
    for way in inspect.ways(engine, afi):
        assert way.is_held, f"{name}: a shortcut without a peer"
        assert way.expires_at > now, f"{name}: an expired shortcut"
        if way.active:
            wanted.add(way.prefix)
            assert kernel.routes[way.prefix] == way.peer, f"{name}: a shortcut without a route"
    assert kernel.routes.keys() == wanted, f"{name}: routes that nobody wants, or wants in vain"
    if inspect.is_protected(engine):
        _check_wishes(station)
    bound = 4 * (len(bindings) + len(inspect.asked(engine, afi))) + 64
    assert inspect.timer_count(engine) <= bound, f"{name}: timers of nobody"


def _check_wishes(station: Station) -> None:
    """Checks that neighbours have SAs, and that every wanted SA is needed."""
    engine, kernel, ike = station.engine, station.kernel, station.ike
    own = inspect.own_nbma(engine)
    if ike.told:
        for address in kernel.wanted & kernel.neighbors.keys():
            pair = own, kernel.neighbors[address][0]
            assert pair in ike.known, f"a neighbour without an SA: {address.hex()}"
    assert inspect.idle_wishes(engine) == []
    asked = {remote for local, remote in ike.wanted if local == own}
    assert asked == inspect.wanted_sas(engine), own
    assert not own or len(asked) == len(ike.wanted), "a wish from an old address"
