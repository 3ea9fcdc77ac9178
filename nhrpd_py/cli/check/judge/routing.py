"""Checks of routes, and of what a routing daemon sees of ours. Pure."""

import ipaddress
from collections.abc import Iterator

from nhrpd_py.cli.check.facts import Facts, Row
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.judge.tunnels import is_covered

AREA = "routing"
OF_THE_KERNEL = ("kernel", "ra", "redirect")
FREE_NUMBERS = range(200, 250)


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the area `routing`."""
    number = facts.config.routes.protocol
    name = facts.kernel.protocols.get(number)
    yield _named(facts, number, name)
    routes = facts.kernel.routes
    if isinstance(routes, Unread):
        yield Area(AREA, "routes").unread(routes)
        return
    ours: list[Row] = []
    others: list[Row] = []
    for route in routes:
        is_ours = str(route.get("protocol")) in (str(number), name)
        (ours if is_ours else others).append(route)
    yield from _strangers(facts, ours)
    for config in facts.config.interfaces.values():
        if config.nhs:
            yield from _leads_to_hub(facts, config.name, others)
    yield from _seen(facts)


def _named(facts: Facts, number: int, name: str | None) -> Finding:
    area = Area(AREA, f"protocol {number}")
    if name is None:
        file = "/etc/iproute2/rt_protos.d/nhrpd.conf"
        return area.warning(
            "iproute2 has no name for it: `ip route` shows the number",
            f"mkdir -p {file.rpartition('/')[0]} && printf '{number}\\tnhrpd\\n' > {file}",
        )
    if "nhrp" not in name:
        return area.warning(
            f"iproute2 calls it {name}: another program may use it",
            f"protocol = {_free(facts)}   # under [routes] in {facts.file}",
        )
    return area.ok(f"iproute2 calls it {name}")


def _free(facts: Facts) -> int:
    taken = facts.kernel.protocols.keys() | {facts.config.routes.protocol}
    return next(number for number in FREE_NUMBERS if number not in taken)


def _strangers(facts: Facts, ours: list[Row]) -> Iterator[Finding]:
    """Finds routes of others with our protocol number: nhrpd would take them for its own."""
    area = Area(AREA, f"protocol {facts.config.routes.protocol}")
    wanted = {str(row["prefix"]) for row in facts.view("routes")}
    strange = [
        route
        for route in ours
        if route.get("dev") not in facts.config.interfaces
        or (facts.running and _prefix(route) not in wanted)
    ]
    if strange:
        shown = ", ".join(f"{_prefix(each)} dev {each.get('dev')}" for each in strange[:3])
        yield area.warning(
            f"{len(strange)} routes have our protocol number and are not ours: {shown}",
            f"protocol = {_free(facts)}   # under [routes] in {facts.file}, "
            "or in the other program",
        )


def _prefix(route: Row) -> str:
    """Writes the prefix of a route as the daemon does; iproute2 leaves out the length of a host's."""
    text = str(route.get("dst"))
    try:
        return str(ipaddress.ip_network("0.0.0.0/0" if text == "default" else text))
    except ValueError:
        return text


def _leads_to_hub(facts: Facts, name: str, others: list[Row]) -> Iterator[Finding]:
    area = Area(AREA, name)
    into = [
        route
        for route in others
        if _goes_into(route, name)
        and route.get("type", "unicast") == "unicast"
        and route.get("table", "main") != "local"
        and (route.get("protocol") not in OF_THE_KERNEL)
    ]
    read = [route for route in into if _table(route) == "main"]
    if read:
        yield area.ok(f"{len(read)} routes of others lead into it ({_prefix(read[0])}…)")
    covering = {_prefix(route) for route in read}
    unread = [
        route
        for route in into
        if _table(route) != "main" and not is_covered(_prefix(route), covering)
    ]
    hubs = [row["protocol"] for row in facts.view("nhs") if row.get("protocol")]
    hub = hubs[0] if hubs else "HUB"
    if unread:
        first = _prefix(unread[0])
        yield area.warning(
            f"{len(unread)} routes in table {_table(unread[0])} lead into it ({first}…), which nhrpd "
            "does not read: no shortcuts there",
            f"ip route add {first} via {hub} dev {name} onlink   # in the table main too",
        )
    elif not read:
        yield area.warning(
            "no route for other sites leads into it: traffic for them takes another way",
            f"ip route add SITES via {hub} dev {name} onlink   # or a routing protocol, see "
            "etc/frr-spoke.conf",
        )


def _table(route: Row) -> str:
    return str(route.get("table", "main"))


def _announce(facts: Facts) -> str:
    """Returns the vtysh command that announces the daemon's host routes, and no other route.

    A default route, or one to a network behind a peer, would draw the traffic of others here.
    """
    routing = facts.routing
    lines = ["configure terminal", "ip prefix-list from-nhrpd permit 0.0.0.0/0 ge 32"]
    for number, config in enumerate(facts.config.interfaces.values(), 1):
        lines += [
            f"route-map from-nhrpd permit {number * 10}",
            f"match interface {config.name}",
            "match ip address prefix-list from-nhrpd",
        ]
    lines += [
        *("exit", f"router bgp {routing.asn}", "address-family ipv4 unicast"),
        "redistribute kernel route-map from-nhrpd",
    ]
    typed = " ".join(f"-c '{line}'" for line in lines)
    return f"{routing.vtysh} {typed}   # see etc/frr-hub.conf"


def _goes_into(route: Row, name: str) -> bool:
    if route.get("dev") == name:
        return True
    return any(hop.get("dev") == name for hop in route.get("nexthops") or ())


def _seen(facts: Facts) -> Iterator[Finding]:
    routing = facts.routing
    hosts = {
        _prefix({"dst": row["prefix"]})
        for row in facts.view("routes")
        if row["kind"] == "host" and row["afi"] == "ipv4"
    }
    if isinstance(routing.frr_kernel, Unread):
        yield Area(AREA, "FRR").unread(routing.frr_kernel)
    elif routing.frr_kernel is not None:
        unseen = hosts - routing.frr_kernel
        if unseen:
            yield Area(AREA, "FRR").problem(
                f"zebra does not have our route to {min(unseen)} ({len(unseen)} in all)",
                "systemctl restart frr   # it reads all routes anew, and its sessions end for that",
            )
        else:
            yield Area(AREA, "FRR").ok("zebra sees our routes")
    hub = any(each.redirect for each in facts.config.interfaces.values())
    if routing.frr_bgp is not None and hub and hosts:
        unseen = {each for each in hosts if not is_covered(each, routing.frr_bgp)}
        if unseen:
            yield Area(AREA, "BGP").warning(
                f"BGP does not announce our route to {min(unseen)} ({len(unseen)} in all): "
                "spokes do not learn where the others' tunnel addresses are",
                _announce(facts),
            )
        else:
            yield Area(AREA, "BGP").ok("BGP announces our routes")
    if routing.bird_kernel is not None:
        unseen = hosts - routing.bird_kernel
        if unseen:
            yield Area(AREA, "BIRD").warning(
                f"BIRD does not have our route to {min(unseen)} ({len(unseen)} in all)",
                "protocol kernel { learn yes; … } in /etc/bird/bird.conf, then: birdc configure",
            )
        else:
            yield Area(AREA, "BIRD").ok("BIRD sees our routes")
