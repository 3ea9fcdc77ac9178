"""Finds out which system a text is from, by what only that system says."""

import re
from collections.abc import Iterator

from nhrpd_py.cli.importing.source import Source

COMPANIONS = ("swanctl", "interfaces", "commands", "script")
"""What may be given beside a configuration."""
UNMARKED = "unmarked"
"""Of a file that says nothing that only one system says, such as zebra.conf beside nhrpd.conf."""
MARKS = {
    "vyos": (
        r"(?:\S+[#$] ?)?set (protocols|interfaces|vpn|system|nat|firewall|service|policy|high-availability) .+",
        r"(protocols|interfaces|vpn|system|service) \{",
        r"nhrp \{",
        r"// (vyos|Release version).*",
    ),
    "ios": (
        r"(?i:interface tunnel) ?\d+",
        r"tunnel mode gre multipoint.*",
        r"crypto (isakmp|ipsec|ikev2|keyring|pki) ?.*",
        r"ip address \d\S+ 255\.\S+.*",
        r"tunnel protection ipsec profile .*",
        r"(Building configuration.*|Current configuration :.*|version 1[0-9]\.\d+)",
        r"ip nhrp map multicast \d.*",
    ),
    "frr": (
        r"tunnel protection vici .*",
        r"frr (version|defaults) .*",
        r"nhrp (nflog-group|event socket|multicast-nflog-group) .*",
        r"debug nhrp .*",
    ),
    "vtysh": (
        r"(ip|ipv6) nhrp registration no-unique",
        r"(ip|ipv6) nhrp nhs \S+ nbma .*",
        r"(ip|ipv6) nhrp network-id \d+",
        r"router bgp \d+",
    ),
    "opennhrp": (
        r"map \S+ \S+ register.*",
        r"dynamic-map \S+ \S+",
        r"holding-time \d+",
        r"cisco-authentication \S+",
        r"(shortcut|redirect|non-caching|shortcut-destination)",
        r"shortcut-target \S+.*",
        r"multicast (dynamic|nhs|\d\S+)",
    ),
    "swanctl": (
        r"(connections|secrets|children|authorities|pools) \{",
        r"(local_ts|remote_ts) = .*",
    ),
    "interfaces": (r"iface \S+ inet6? \S+", r"auto \S+"),
    "commands": (r"(\S*[#$] )?ip (tunnel|link) add .*", r"(\S*[#$] )?ip6?tables -.*"),
    "script": (r".*\bpeer-register\).*", r".*\b(peer|route)-(up|down)\).*"),
}
COMPILED = {system: re.compile("|".join(marks)) for system, marks in MARKS.items()}
NAMES = {
    "vyos": "VyOS",
    "ios": "Cisco IOS",
    "frr": "FRR or Quagga",
    "opennhrp": "OpenNHRP",
    "swanctl": "strongSwan (swanctl.conf)",
    "interfaces": "ifupdown",
    "commands": "a shell",
    "script": "OpenNHRP's script",
}
QUAGGA = re.compile(r"(?i).*\bquagga\b.*|neighbor \S+ next-hop-self all|!\s*Zebra configuration.*")
FRR = re.compile(r"frr (version|defaults) .*")


def format_of(source: Source, told: str | None, *, alone: bool = True) -> str:
    """Returns a system, a companion, or `guide`; `UNMARKED` for a file of several that could be any's.

    `told` is what the user says. Raises InputError.
    """
    counts: dict[str, int] = {}
    first: dict[str, int] = {}
    for system, number in _marked(source):
        counts[system] = counts.get(system, 0) + 1
        first.setdefault(system, number)
    if "ios" not in counts and "vtysh" in counts:  # Cisco's and FRR's alike
        counts["frr"] = counts.get("frr", 0) + counts["vtysh"]
        first["frr"] = min(first["vtysh"], first.get("frr", first["vtysh"]))
    counts.pop("vtysh", None)
    if "vyos" in counts:  # its words within the tree are OpenNHRP's, which has no braces
        counts.pop("opennhrp", None)
    family = "frr" if told == "quagga" else told
    companions = [each for each in COMPANIONS if counts.get(each)]
    systems = sorted(
        (each for each in counts if each not in COMPANIONS), key=lambda each: -counts[each]
    )
    if _is_guide(source, counts) and told in (None, "quagga", "frr"):
        return "guide"
    if not systems and companions:
        return max(companions, key=lambda each: counts[each])
    if not counts and not alone:
        return UNMARKED
    best = systems[0] if systems else None
    if companions and best is not None:
        companion = max(companions, key=lambda each: counts[each])
        if counts[companion] > 2 * counts[best]:
            return companion
    if family is not None:
        if best is not None and not counts.get(family):
            raise source.fault(
                first[best], f"this is {NAMES[best]}'s, not {NAMES[family]}'s: leave --from out"
            )
        if best is None:
            raise source.fault(1, f"nothing in it is {NAMES[family]}'s")
        return str(told)
    if best is None:
        raise source.fault(
            1,
            "nothing in it is a configuration of FRR, Quagga, OpenNHRP, VyOS or Cisco IOS with NHRP",
        )
    if len(systems) > 1 and counts[systems[1]] == counts[best]:
        names = " or ".join(NAMES[each] for each in systems[:2])
        raise source.fault(first[systems[1]], f"it may be {names}'s: say which with --from")
    return _frr_or_quagga(source) if best == "frr" else best


def _marked(source: Source) -> Iterator[tuple[str, int]]:
    """Yields systems with the lines that only they have."""
    for number, line in source.numbered():
        text = " ".join(line.split())
        for system, mark in COMPILED.items():
            if mark.fullmatch(text):
                yield system, number


def _is_guide(source: Source, counts: dict[str, int]) -> bool:
    """A page with several configurations, and sentences around them."""
    kinds = [each for each in ("swanctl", "interfaces", "commands", "frr") if counts.get(each)]
    if len(kinds) < 3:  # noqa: PLR2004 (fewer are files with an odd line)
        return False
    return any(re.fullmatch(r"[A-Z][a-z].* .*[a-z]\.", line.strip()) for line in source.lines)


def _frr_or_quagga(source: Source) -> str:
    quagga = any(QUAGGA.fullmatch(line.strip()) for line in source.lines)
    frr = any(FRR.fullmatch(line.strip()) for line in source.lines)
    return "quagga" if quagga and not frr else "frr"
