"""BGP as FRR has it beside nhrpd, from the blocks of vtysh and IOS."""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nhrpd_py.cli.importing.node import Leftover, Node, Said
from nhrpd_py.cli.importing.read.blocks import Collected

IN_FAMILY = re.compile(
    r"(no )?(network|redistribute|aggregate-address)\b.*"
    r"|(no )?neighbor \S+ (activate|allowas-in|as-override|attribute-unchanged|default-originate"
    r"|distribute-list|filter-list|maximum-prefix|next-hop-self|prefix-list|remove-private-as"
    r"|route-map|route-reflector-client|send-community|soft-reconfiguration|unsuppress-map|weight)\b.*",
    re.IGNORECASE,
)
"""Commands that FRR has in an address family, and others beside it."""
WITHOUT_EFFECT = re.compile(r"(no )?(auto-summary|synchronization)|exit-address-family|exit")
FAMILY = re.compile(r"address-family (?P<family>\S+)(?: (?P<kind>.+))?")
FAMILIES = ("ipv4", "ipv6")
ELSEWHERE = "another"


@dataclass(slots=True)
class Bgp:
    """A `router bgp`, sorted."""

    head: str
    general: list[str] = field(default_factory=list)
    families: dict[str, list[str]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        yield self.head
        yield from (f" {line}" for line in self.general)
        for family, lines in self.families.items():
            yield " !"
            yield f" address-family {family} unicast"
            yield from (f"  {line}" for line in lines)
            yield " exit-address-family"
        yield "exit"


def translate(block: Collected, node: Node) -> Bgp:
    """Sorts the lines of a block, and says to FRR what other systems do without being told."""
    bgp = Bgp(block.head.text)
    family = ""
    own = block.head.text.split()[2]
    internal = {
        said.text.split()[1]
        for said in block.lines
        if re.fullmatch(rf"neighbor \S+ remote-as (?:{re.escape(own)}|internal)", said.text)
    }
    for said in block.lines:
        if said.text.startswith(("!", "#")) or WITHOUT_EFFECT.fullmatch(said.text):
            if said.text == "exit-address-family":
                family = ""
            continue
        entered = FAMILY.fullmatch(said.text)
        if entered is not None:
            family = entered["family"]
            if family not in FAMILIES or entered["kind"] not in (None, "unicast"):
                reason = "IPv4 and IPv6 unicast of the main VRF alone are carried over: its lines go with it."
                node.leftovers.append(Leftover(said, reason))
                family = ELSEWHERE
            else:
                bgp.families.setdefault(family, [])
            continue
        if family == ELSEWHERE:
            continue
        line = _line(said, node, internal, family or "ipv4")
        if line is None:
            continue
        if family or IN_FAMILY.fullmatch(line):
            bgp.families.setdefault(family or "ipv4", []).append(line)
        else:
            bgp.general.append(line)
    if node.system == "quagga" and any(
        line.startswith("network ") for lines in bgp.families.values() for line in lines
    ):
        _add(bgp, "no bgp network import-check")  # it announced what it had no route to
    if node.system != "frr" and any(
        " remote-as " in said.text and said.text.split()[1] not in internal for said in block.lines
    ):
        _add(bgp, "no bgp ebgp-requires-policy")
    return bgp


def _add(bgp: Bgp, line: str) -> None:
    if line not in bgp.general:
        bgp.general.append(line)


def announcement(family: str, node: Node) -> str:
    """What stands for `redistribute nhrp`."""
    node.announced.add(family)
    return f"redistribute kernel route-map from-nhrpd{'' if family == 'ipv4' else '-ipv6'}"


def _line(said: Said, node: Node, internal: set[str], family: str) -> str | None:
    """Returns a command as FRR knows it; None where there is none."""
    words = said.text.split()
    match words:
        case ["redistribute", "nhrp", *_]:
            return announcement(family, node)
        case ["neighbor", _, "next-hop-self", "all"]:
            return " ".join([*words[:3], "force"])
        case ["neighbor", name, "ebgp-multihop", *_] if name in internal:
            node.leftovers.append(
                Leftover(said, "It has no effect within one AS, and FRR refuses it there.")
            )
            return None
        case ["neighbor", _, "password", *rest]:
            return _password(said, node, rest)
        case ["network", _, "mask", _, *_] | ["aggregate-address", _, _, *_]:
            return _with_length(words)
        case _:
            return said.text


def _password(said: Said, node: Node, rest: list[str]) -> str | None:
    """An encrypted password is of no use to another system."""
    kind, *phrase = rest if len(rest) > 1 else ["0", *rest]
    node.hidden.update(rest[-1:])
    if kind != "0" or not phrase:
        node.leftovers.append(
            Leftover(said, "The password is encrypted: write it into frr.conf in clear.")
        )
        return None
    return " ".join([*said.text.split()[:3], *phrase])


def _with_length(words: list[str]) -> str:
    """Turns a mask behind an address into a prefix length."""
    mask = words[3] if words[2] == "mask" else words[2]
    rest = words[4:] if words[2] == "mask" else words[3:]
    try:
        prefix = ipaddress.IPv4Network(f"{words[1]}/{mask}", strict=False)
    except ValueError:
        return " ".join(words)
    kept = [word for word in rest if word != "mask"]
    return " ".join([words[0], str(prefix), *kept])
