"""What commands of Cisco's IOS and IOS XE become, but for IPsec."""

import ipaddress

from nhrpd_py.cli.importing import actions as do
from nhrpd_py.cli.importing import later
from nhrpd_py.cli.importing.node import Server, Setting
from nhrpd_py.cli.importing.rules import Action, Found, Place, Rule, Rules
from nhrpd_py.cli.importing.table.ios_crypto import CRYPTO
from nhrpd_py.config.values import between, nbma_or_name, nhs_protocol


def _interface(
    command: str, becomes: str, action: Action | None = None, *, needs: str = "", partly: str = ""
) -> Rule:
    return Rule(command, becomes, action, block="interface", needs=needs, partly=partly)


@do.guarded
def _address(place: Place, found: Found) -> None:
    try:
        mask = ipaddress.IPv4Network(f"0.0.0.0/{found['MASK']}").prefixlen
    except ValueError:
        raise do.UnfitError(f"{found['MASK']!r} is no mask") from None
    do.add_address(place, f"{found['ADDRESS']}/{mask}")


@do.guarded
def _masked_map(place: Place, found: Found) -> None:
    try:
        length = ipaddress.IPv4Network(f"0.0.0.0/{found['MASK']}").prefixlen
    except ValueError:
        raise do.UnfitError(f"{found['MASK']!r} is no mask") from None
    do.add_binding(place, f"{found['PROTOCOL']}/{length}", found["NBMA"])


@do.guarded
def _server(place: Place, found: Found) -> None:
    """A server whose outer address a map has."""
    protocol = do.checked(nhs_protocol, found["PROTOCOL"].partition("/")[0])
    ours = Server(protocol, "", place.where)
    do.rank(ours, found)
    place.nhrp().unplaced_servers.append((ours, place.said))


def _multicast_server(place: Place, found: Found) -> None:
    do.server()(place, found)
    why = later.reason("multicast", "The server is carried over, its word multicast not yet")
    if why is None:
        known = place.tunnel.settings.get("multicast")
        if known is None:
            place.set("multicast", ["nhs"])
    else:
        place.refuse(why)


def _redirect_timeout(place: Place, found: Found) -> None:
    place.set("redirect", value=True)
    why = later.reason("redirect-interval", "redirect = true is carried over, its timeout not yet")
    if why is None:
        place.set("redirect-interval", int(found["NUMBER"]))
    else:
        place.refuse(why)


def _source(place: Place, found: Found) -> None:
    name = f"{found['NAME']}{found.get('UNIT', '')}"
    try:
        place.tunnel.device.local = str(ipaddress.ip_address(name))
    except ValueError:
        place.tunnel.source_name = name


def _multipoint(place: Place, _found: Found) -> None:
    place.tunnel.multipoint = True


@do.guarded
def _destination(place: Place, found: Found) -> None:
    place.tunnel.remote = do.checked(nbma_or_name, found["ADDRESS"])
    place.refuse(
        "A tunnel of nhrpd is multipoint, and this one becomes one (phase 1 becomes 2 or 3): its other "
        "end is the server."
    )


def _profile(place: Place, found: Found) -> None:
    place.nhrp().profile = Setting(found["PROFILE"], place.where)


def _vrf(command: str, *, documented: bool = True) -> Rule:
    return Rule(
        command, "`vrf`", do.text("vrf"), block="interface", needs="vrf", documented=documented
    )


NEEDS_NOTHING = "nothing"
TABLE = (
    _interface("ip|ipv6 nhrp network-id NUMBER", "`network-id`", do.network_id()),
    _interface("ip|ipv6 nhrp holdtime NUMBER", "`holding-time`", do.holding_time()),
    _interface("ip|ipv6 nhrp authentication SECRET", "`authentication`", do.authentication()),
    _interface("ip|ipv6 nhrp shortcut", "`shortcut = true`", do.flag("shortcut")),
    _interface("no ip|ipv6 nhrp shortcut", "`shortcut = false`", do.flag("shortcut", value=False)),
    _interface(
        "ip|ipv6 nhrp redirect",
        "`redirect = true`, and the firewall rule that samples",
        do.flag("redirect"),
    ),
    _interface(
        "ip|ipv6 nhrp redirect timeout NUMBER",
        "`redirect = true`; its timeout",
        _redirect_timeout,
        partly="redirect-interval",
    ),
    _interface(
        "ip|ipv6 nhrp registration no-unique",
        "`unique = false` (without the line `unique = true`, Cisco's default)",
        do.flag("unique", value=False),
    ),
    _interface("ip|ipv6 nhrp registration unique", "`unique = true`", do.flag("unique")),
    _interface(
        "ip|ipv6 nhrp registration timeout NUMBER",
        "`registration-interval`",
        do.number("registration-interval", 1, 65535),
        needs="registration-interval",
    ),
    _interface(
        "ip|ipv6 nhrp nhs PROTOCOL nbma NBMA [priority NUMBER] [cluster CLUSTER]",
        "`[[interface.NAME.nhs]]` with `protocol`, `nbma`, `priority`, `cluster`; `dynamic` as well",
        do.server(),
    ),
    _interface(
        "ip|ipv6 nhrp nhs PROTOCOL nbma NBMA multicast [priority NUMBER] [cluster CLUSTER]",
        "`[[interface.NAME.nhs]]`; the word multicast",
        _multicast_server,
        partly="multicast",
    ),
    _interface(
        "ip|ipv6 nhrp nhs cluster CLUSTER max-connections NUMBER",
        "`[[interface.NAME.cluster]]` with `number`, `max-connections`",
        do.entry("cluster", number="CLUSTER", max_connections="NUMBER"),
        needs="cluster",
    ),
    _interface(
        "ip|ipv6 nhrp nhs fallback NUMBER",
        "`nhs-fallback`",
        do.number("nhs-fallback", 1, 65535),
        needs="nhs-fallback",
    ),
    _interface(
        "ip|ipv6 nhrp nhs PROTOCOL [priority NUMBER] [cluster CLUSTER]",
        "`[[interface.NAME.nhs]]`, with the outer address of its `ip nhrp map`",
        _server,
    ),
    _interface(
        "ip|ipv6 nhrp map multicast TARGET",
        "`multicast`",
        do.appended("multicast", "TARGET"),
        needs="multicast",
    ),
    _interface(
        "ip|ipv6 nhrp map group NAME service-policy REST",
        "Nothing by itself: say which peers are of the group in [[interface.NAME.authorize]].",
        needs="group",
    ),
    _interface(
        "ip|ipv6 nhrp map PROTOCOL NBMA",
        "`[[interface.NAME.map]]`; with `ip nhrp nhs` for the same address: that server's `nbma`",
        do.binding(),
    ),
    _interface("ip|ipv6 nhrp map PROTOCOL MASK NBMA", "`[[interface.NAME.map]]`", _masked_map),
    _interface(
        "ip|ipv6 nhrp summary-map PREFIX",
        "`summary-map`",
        do.appended("summary-map", "PREFIX"),
        needs="summary-map",
    ),
    _interface(
        "ip|ipv6 nhrp group NAME",
        "Nothing by itself: say which peers are of the group in [[interface.NAME.authorize]].",
        needs="group",
    ),
    _interface(
        "nhrp group NAME",
        "Nothing by itself: say which peers are of the group in [[interface.NAME.authorize]].",
        needs="group",
    ),
    _interface(
        "nhrp attribute group NAME",
        "Nothing by itself: say which peers are of the group in [[interface.NAME.authorize]].",
        needs="group",
    ),
    _interface(
        "nhrp map group NAME service-policy REST",
        "Nothing by itself: say which peers are of the group in [[interface.NAME.authorize]].",
        needs="group",
    ),
    _interface(
        "nhrp event-publisher [REST]",
        "Nothing: `nhrpctl monitor` tells what happens.",
        needs="hooks",
    ),
    _interface(
        "if-state nhrp",
        "Nothing: the netdev stays up; `nhrpctl show problems` and the metrics tell of lost servers.",
    ),
    _interface(
        "ip|ipv6 nhrp server-only [non-caching]",
        "Nothing: a node without `[[interface.NAME.nhs]]` registers nowhere.",
    ),
    _interface(
        "ip|ipv6 nhrp max-send REST",
        "Nothing: nhrpd limits what each peer may send, and paces its own requests.",
    ),
    _interface(
        "ip|ipv6 nhrp interest REST",
        "Nothing: redirects of the hub alone start resolution; its firewall rule says for what.",
    ),
    _interface("ip|ipv6 nhrp cache REST", "Nothing: nhrpd answers for itself and its clients."),
    _interface("ip|ipv6 nhrp use NUMBER", "Nothing: the first redirect starts resolution."),
    _interface(
        "no ip|ipv6 nhrp record", "Nothing: the records keep requests from running in circles."
    ),
    _interface("ip address|addr|add ADDRESS MASK [secondary]", "the netdev's address", _address),
    _interface("ipv6 address PREFIX", "the netdev's address", do.address()),
    _interface("ip address dhcp|negotiated", NEEDS_NOTHING, do.nothing),
    _interface("ip|ipv6 mtu NUMBER", "the netdev's mtu", do.device("mtu", do.MTUS)),
    _interface(
        "ip tcp adjust-mss NUMBER",
        "a firewall rule (TCPMSS)",
        do.device("mss", between(64, 65495)),
    ),
    _interface(
        "ipv6 tcp adjust-mss NUMBER",
        "a firewall rule (TCPMSS)",
        do.device("mss6", between(64, 65495)),
    ),
    _interface(
        "tunnel source NAME [UNIT]",
        "`local` of the netdev where the address is known, else its `dev`",
        _source,
    ),
    _interface("tunnel mode gre multipoint", "the netdev: GRE without a remote end", _multipoint),
    _interface(
        "tunnel mode gre multipoint ipv6",
        "Nothing: Linux sends nothing through an ip6gre without a remote address, so the underlay is IPv4.",
    ),
    _interface("tunnel key NUMBER", "the netdev's key", do.device("key", do.KEYS)),
    _interface(
        "tunnel destination ADDRESS",
        "a multipoint netdev; the address is the server's",
        _destination,
    ),
    _interface(
        "tunnel protection ipsec profile PROFILE [REST]",
        "`[interface.NAME.ipsec] profile`, and a connection in swanctl.conf",
        _profile,
    ),
    _interface(
        "tunnel vrf NAME", "Nothing: the underlay is in the VRF of the netdev's `dev`.", needs="vrf"
    ),
    _vrf("vrf forwarding NAME"),
    _vrf("ip vrf forwarding NAME", documented=False),
    _interface(
        "ip|ipv6 ospf REST", "OSPF's lines, in frr.conf", do.routing_line, needs="multicast"
    ),
    _interface(
        "ip|ipv6 pim [REST]", "PIM's lines, in frr.conf", do.routing_line, needs="multicast"
    ),
    _interface(
        "ip summary-address eigrp REST",
        "Nothing: EIGRP of FRR is set up by hand.",
        needs="multicast",
    ),
    _interface(
        "ip hold-time|hello-interval|bandwidth-percent eigrp REST",
        "Nothing: EIGRP of FRR is set up by hand.",
        needs="multicast",
    ),
    _interface(
        "no ip split-horizon|next-hop-self eigrp REST",
        "Nothing: EIGRP of FRR is set up by hand.",
        needs="multicast",
    ),
    _interface(
        "shutdown",
        "Nothing: the tunnel is shut down there; take its netdev down to do the same (ip link set).",
    ),
    _interface(
        "service-policy REST", "Nothing: tc shapes traffic on Linux; nhrpd has no part in it."
    ),
    _interface(
        "ip access-group REST", "Nothing: write the packet filter's rules for the netdev by hand."
    ),
    *(
        Rule(command, NEEDS_NOTHING, do.nothing, block="interface", documented=False)
        for command in (
            *("description REST", "no shutdown", "no ip redirects", "bandwidth NUMBER"),
            *("delay NUMBER", "load-interval NUMBER", "tunnel path-mtu-discovery [REST]"),
            *("no ip unreachables", "no ip proxy-arp", "ip virtual-reassembly [REST]"),
            *("ipv6 enable", "tunnel bandwidth REST", "no ip route-cache [REST]"),
        )
    ),
    *CRYPTO,
)

RULES = Rules(TABLE)
