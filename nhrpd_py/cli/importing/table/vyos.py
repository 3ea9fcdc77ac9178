"""What VyOS's `set` commands become, with OpenNHRP (1.4 and older) and with FRR (1.5)."""

import ipaddress

from nhrpd_py.cli.importing import actions as do
from nhrpd_py.cli.importing.rules import Action, Found, Place, Rule, Rules
from nhrpd_py.config.values import between, interface_name

NHRP = "protocols nhrp tunnel TUNNEL "
TUNNEL = "interfaces tunnel TUNNEL "
IPSEC = "vpn ipsec "


def _nhrp(command: str, becomes: str, action: Action | None = None, *, needs: str = "") -> Rule:
    return Rule(NHRP + command, becomes, action, needs=needs)


def _map(key: str, word: str = "") -> Action:
    """Collects the lines of one map, which stand apart."""

    def action(place: Place, found: Found) -> None:
        place.nhrp()
        part = place.node.part("map", f"{place.subject} {found['PROTOCOL']}")
        part[key] = [found.get(word, "yes")]
        if "line" not in part or key == "nbma":
            part["file"], part["line"] = [place.said.file], [str(place.said.line)]
            part["text"], part["several"] = [place.said.text], [str(place.several)]

    return action


@do.guarded
def _local(place: Place, found: Found) -> None:
    try:
        place.tunnel.device.local = str(ipaddress.ip_address(found["ADDRESS"]))
    except ValueError:
        raise do.UnfitError(f"{found['ADDRESS']!r} is no address") from None
    place.tunnel.device.known = True


@do.guarded
def _link(place: Place, found: Found) -> None:
    place.tunnel.device.link = do.checked(interface_name, found["LINK"])


def _made(place: Place, _found: Found) -> None:
    place.tunnel.device.known = True


def keep(kind: str, name: str, key: str, word: str) -> Action:
    """Keeps a word of IPsec for the end."""

    def action(place: Place, found: Found) -> None:
        subject = "/".join(found[each] for each in name.split("/"))
        place.node.part(kind, subject).setdefault(key, []).append(found.get(word, ""))
        if word == "SECRET":
            place.node.hidden.add(found[word])

    return action


def _group(command: str, becomes: str, kind: str, name: str, key: str, word: str) -> Rule:
    return Rule(IPSEC + command, becomes, keep(kind, name, key, word))


ESP = "`esp_proposals` and `rekey_time` of the child in swanctl.conf"
IKE = "`version`, `proposals` and `rekey_time` of the connection in swanctl.conf"
PROFILE = "`[interface.NAME.ipsec] profile`, and a connection in swanctl.conf"
TABLE = (
    # FRR's nhrpd below (VyOS 1.5)
    _nhrp("network-id NUMBER", "`network-id`", do.network_id()),
    _nhrp("holdtime NUMBER", "`holding-time`", do.holding_time()),
    _nhrp("authentication SECRET", "`authentication`", do.authentication()),
    _nhrp(
        "nhs tunnel-ip PROTOCOL nbma NBMA",
        "`[[interface.NAME.nhs]]`; `dynamic` as well",
        do.server(),
    ),
    _nhrp("map tunnel-ip PROTOCOL nbma NBMA", "`[[interface.NAME.map]]`", do.binding()),
    _nhrp("registration-no-unique", "`unique = false`", do.flag("unique", value=False)),
    _nhrp(
        "mtu NUMBER",
        "Nothing: nhrpd tells peers the MTU that the netdev has, so set it there.",
    ),
    # both
    _nhrp("redirect", "`redirect = true`, and the firewall rule that samples", do.flag("redirect")),
    _nhrp("shortcut", "`shortcut = true`", do.flag("shortcut")),
    _nhrp("multicast TARGET", "`multicast`", do.appended("multicast", "TARGET"), needs="multicast"),
    # OpenNHRP below (VyOS 1.4 and older)
    _nhrp("holding-time NUMBER", "`holding-time`", do.holding_time()),
    _nhrp("cisco-authentication SECRET", "`authentication`", do.authentication()),
    _nhrp(
        "map PROTOCOL nbma-address NBMA",
        "`[[interface.NAME.nhs]]` with register, else `[[interface.NAME.map]]`",
        _map("nbma", "NBMA"),
    ),
    _nhrp("map PROTOCOL register", "(see the line above)", _map("register")),
    _nhrp("map PROTOCOL cisco", "nothing: Cisco's servers need no word of their own", do.nothing),
    _nhrp(
        "dynamic-map PREFIX nbma-domain-name NAME",
        '`[[interface.NAME.nhs]]` with `protocol = "dynamic"`',
        do.dynamic_server("NAME"),
    ),
    _nhrp("non-caching", "nothing: nhrpd keeps no answers that it passes on", do.nothing),
    _nhrp(
        "shortcut-destination",
        "nothing: nhrpd answers for what routes say is behind the node (`shortcut = true`)",
        do.nothing,
    ),
    _nhrp(
        "shortcut-target PREFIX holding-time NUMBER",
        "`shortcut-target`",
        do.appended("shortcut-target", "PREFIX"),
        needs="shortcut-target",
    ),
    _nhrp(
        "shortcut-target PREFIX",
        "`shortcut-target`",
        do.appended("shortcut-target", "PREFIX"),
        needs="shortcut-target",
    ),
    # the tunnel
    Rule(TUNNEL + "address PREFIX", "the netdev's address", do.address()),
    Rule(
        TUNNEL + "encapsulation gre|gre-multipoint", "the netdev: GRE without a remote end", _made
    ),
    Rule(TUNNEL + "source-address ADDRESS", "`local` of the netdev", _local),
    Rule(TUNNEL + "local-ip ADDRESS", "`local` of the netdev", _local),
    Rule(TUNNEL + "source-interface LINK", "`dev` of the netdev", _link),
    Rule(TUNNEL + "dhcp-interface LINK", "`dev` of the netdev", _link),
    Rule(TUNNEL + "parameters ip key NUMBER", "the netdev's key", do.device("key", do.KEYS)),
    Rule(
        TUNNEL + "parameters ip ttl NUMBER",
        "the netdev's ttl",
        do.device("ttl", between(1, 255)),
    ),
    Rule(TUNNEL + "mtu NUMBER", "the netdev's mtu", do.device("mtu", do.MTUS)),
    Rule(
        TUNNEL + "ipv6 adjust-mss NUMBER",
        "a firewall rule (TCPMSS)",
        do.device("mss6", between(64, 65495)),
    ),
    Rule(
        TUNNEL + "ip adjust-mss NUMBER",
        "a firewall rule (TCPMSS)",
        do.device("mss", between(64, 65495)),
    ),
    Rule(
        TUNNEL + "enable-multicast",
        "nothing: nhrpd needs no multicast flag on the netdev",
        do.nothing,
    ),
    Rule(TUNNEL + "multicast enable|disable", "(as above)", do.nothing, documented=False),
    Rule(TUNNEL + "description REST", "nothing", do.nothing, documented=False),
    Rule(TUNNEL + "vrf NAME", "`vrf`", do.text("vrf"), needs="vrf"),
    # IPsec
    _group(
        "esp-group GROUP proposal NUMBER encryption NAME",
        ESP,
        "esp",
        "GROUP/NUMBER",
        "encryption",
        "NAME",
    ),
    _group("esp-group GROUP proposal NUMBER hash NAME", ESP, "esp", "GROUP/NUMBER", "hash", "NAME"),
    _group("esp-group GROUP lifetime NUMBER", ESP, "esp", "GROUP", "lifetime", "NUMBER"),
    _group("esp-group GROUP pfs NAME", ESP, "esp", "GROUP", "pfs", "NAME"),
    _group("esp-group GROUP mode NAME", "`mode`: always transport", "esp", "GROUP", "mode", "NAME"),
    Rule(IPSEC + "esp-group GROUP compression REST", "nothing: `ipcomp` stays off", do.nothing),
    Rule(
        IPSEC + "esp-group GROUP life-bytes|life-packets REST",
        "nothing",
        do.nothing,
        documented=False,
    ),
    _group(
        "ike-group GROUP proposal NUMBER encryption NAME",
        IKE,
        "ike",
        "GROUP/NUMBER",
        "encryption",
        "NAME",
    ),
    _group("ike-group GROUP proposal NUMBER hash NAME", IKE, "ike", "GROUP/NUMBER", "hash", "NAME"),
    _group("ike-group GROUP proposal NUMBER prf NAME", IKE, "ike", "GROUP/NUMBER", "prf", "NAME"),
    _group(
        "ike-group GROUP proposal NUMBER dh-group NAME", IKE, "ike", "GROUP/NUMBER", "group", "NAME"
    ),
    _group("ike-group GROUP key-exchange NAME", IKE, "ike", "GROUP", "version", "NAME"),
    _group("ike-group GROUP lifetime NUMBER", IKE, "ike", "GROUP", "lifetime", "NUMBER"),
    _group(
        "ike-group GROUP dead-peer-detection interval NUMBER",
        "`dpd_delay` of the connection in swanctl.conf",
        *("ike", "GROUP", "dpd", "NUMBER"),
    ),
    Rule(
        IPSEC + "ike-group GROUP dead-peer-detection REST", "nothing", do.nothing, documented=False
    ),
    *(
        Rule(IPSEC + f"ike-group GROUP {words}", "nothing", do.nothing, documented=False)
        for words in (
            "close-action REST",
            "ikev2-reauth [REST]",
            "mobike REST",
            "mode REST",
            "disable-mobike",
        )
    ),
    _group("profile PROFILE bind tunnel TUNNEL", PROFILE, "profile", "PROFILE", "tunnel", "TUNNEL"),
    _group("profile PROFILE esp-group GROUP", PROFILE, "profile", "PROFILE", "esp", "GROUP"),
    _group("profile PROFILE ike-group GROUP", PROFILE, "profile", "PROFILE", "ike", "GROUP"),
    _group(
        "profile PROFILE authentication pre-shared-secret SECRET",
        "`secrets` in swanctl.conf",
        *("profile", "PROFILE", "secret", "SECRET"),
    ),
    _group(
        "profile PROFILE authentication mode NAME",
        "`auth = psk` in swanctl.conf",
        *("profile", "PROFILE", "mode", "NAME"),
    ),
    Rule(
        IPSEC + "profile PROFILE disable",
        "Nothing: the profile is disabled there; the tunnel would be in clear.",
    ),
    *(
        Rule(IPSEC + words, "nothing", do.nothing, documented=False)
        for words in (
            "profile PROFILE",
            "esp-group GROUP proposal NUMBER",
            "ike-group GROUP proposal NUMBER",
        )
    ),
    Rule(
        IPSEC + "interface|ipsec-interfaces REST",
        "nothing: charon listens on all links",
        do.nothing,
    ),
)

RULES = Rules(TABLE)
