"""What vtysh's commands of FRR and Quagga become."""

from nhrpd_py.cli.importing import actions as do
from nhrpd_py.cli.importing.rules import Action, Found, Place, Rule, Rules

STAYS = "nothing: it stays in frr.conf"


def _local_map(place: Place, found: Found) -> None:
    place.refuse(
        f"It gives the tunnel a further address of its own, {found['PROTOCOL']}: add it to the netdev "
        "(ip address add), nhrpd finds it there."
    )


def _interface(command: str, becomes: str, action: Action, *, needs: str = "") -> Rule:
    return Rule(command, becomes, action, block="interface", needs=needs)


TABLE = (
    _interface("ip|ipv6 nhrp network-id NUMBER", "`network-id`", do.network_id()),
    _interface("ip|ipv6 nhrp holdtime NUMBER", "`holding-time`", do.holding_time()),
    _interface("ip|ipv6 nhrp shortcut", "`shortcut = true`", do.flag("shortcut")),
    _interface(
        "ip|ipv6 nhrp redirect",
        "`redirect = true`, and the firewall rule that samples",
        do.flag("redirect"),
    ),
    _interface(
        "ip|ipv6 nhrp registration no-unique",
        "`unique = false` (without the line `unique = true`, FRR's default, which its hubs do not enforce)",
        do.flag("unique", value=False),
    ),
    _interface("ip|ipv6 nhrp authentication SECRET", "`authentication`", do.authentication()),
    _interface(
        "ip|ipv6 nhrp nhs PROTOCOL nbma NBMA [priority NUMBER]",
        "`[[interface.NAME.nhs]]` with `protocol`, `nbma`, `priority`; `dynamic` as well",
        do.server(),
    ),
    Rule(
        "ip|ipv6 nhrp map PROTOCOL local",
        "an address on the netdev: nhrpd takes all of them for its own",
        _local_map,
        block="interface",
    ),
    _interface(
        "ip|ipv6 nhrp map multicast TARGET",
        "`multicast`",
        do.appended("multicast", "TARGET"),
        needs="multicast",
    ),
    _interface("ip|ipv6 nhrp map PROTOCOL NBMA", "`[[interface.NAME.map]]`", do.binding()),
    Rule(
        "ip nhrp mtu NUMBER",
        "Nothing: nhrpd tells peers the MTU that the netdev has, so set it there (ip link set mtu).",
        block="interface",
    ),
    _interface(
        "tunnel source NAME",
        "`tunnel-source`; not needed where the netdev has `local` or `dev`",
        do.tunnel_source(),
    ),
    _interface(
        "tunnel protection vici profile PROFILE [fallback-profile FALLBACK]",
        "`[interface.NAME.ipsec]` with `profile`, `fallback-profile`; the connection stays in swanctl.conf",
        do.protection(),
    ),
    Rule("ip|ipv6 address PREFIX", "the netdev's address", do.address(), block="interface"),
    Rule(
        "ip|ipv6 ospf|ospf6 REST",
        "OSPF's lines, in frr.conf",
        do.routing_line,
        block="interface",
        needs="multicast",
    ),
    Rule(
        "ip|ipv6 pim [REST]",
        "PIM's lines, in frr.conf",
        do.routing_line,
        block="interface",
        needs="multicast",
    ),
    Rule("description REST", STAYS, do.nothing, block="interface"),
    Rule("ipv6 nd REST", STAYS, do.nothing, block="interface"),
    Rule("no ipv6 nd REST", STAYS, do.nothing, block="interface", documented=False),
    Rule("no link-detect", STAYS, do.nothing, block="interface"),
    Rule("link-detect", STAYS, do.nothing, block="interface", documented=False),
    Rule("no shutdown", STAYS, do.nothing, block="interface", documented=False),
    Rule(
        "nhrp nflog-group NUMBER", "`[nflog] redirect-group`", do.general("nflog", "redirect-group")
    ),
    Rule(
        "nhrp multicast-nflog-group NUMBER",
        "`[nflog] multicast-group`",
        do.general("nflog", "multicast-group"),
        needs="multicast",
    ),
    Rule(
        "nhrp event socket PATH",
        "`[daemon] event-socket`",
        do.general_text("daemon", "event-socket", "PATH"),
        needs="event-socket",
    ),
    Rule(
        "debug nhrp REST",
        "Nothing: `nhrpctl monitor` tells what happens, and `log-level` in [daemon] what is logged.",
    ),
)

RULES = Rules(TABLE)
