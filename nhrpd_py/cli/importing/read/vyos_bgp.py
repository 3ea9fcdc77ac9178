"""VyOS's BGP, as commands of FRR, on which it runs."""

from nhrpd_py.cli.importing.node import Leftover, Node, Said
from nhrpd_py.cli.importing.read.bgp import Bgp, announcement

FAMILIES = {"ipv4-unicast": "ipv4", "ipv6-unicast": "ipv6"}
OF_NEIGHBOR = {
    "nexthop-self": "next-hop-self",
    "route-reflector-client": "route-reflector-client",
    "soft-reconfiguration": "soft-reconfiguration",
    "default-originate": "default-originate",
    "maximum-prefix": "maximum-prefix",
    "allowas-in": "allowas-in",
    "as-override": "as-override",
    "addpath-tx-all": "addpath-tx-all-paths",
}
GENERAL_OF_NEIGHBOR = (
    *("remote-as", "peer-group", "ebgp-multihop", "passive", "password", "update-source"),
    *("disable-connected-check", "advertisement-interval", "shutdown"),
)


class VyosBgp:
    """Collects the commands below `protocols bgp`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._number = ""
        self._bgp = Bgp("")

    def take(self, words: list[str], said: Said) -> None:
        """Carries one command over. Old versions have the AS number in each of them."""
        if words and words[0].isdigit():
            self._number = words[0]
            words = words[1:]
        if not self._take(words):
            self._node.leftovers.append(
                Leftover(
                    said,
                    "FRR's words for it are not known to import: add them to frr.conf by hand.",
                )
            )

    def _take(self, words: list[str]) -> bool:
        general = self._bgp.general
        match words:
            case []:
                pass
            case ["system-as" | "local-as", number]:
                self._number = number
            case ["parameters", "router-id", address]:
                general.append(f"bgp router-id {address}")
            case ["parameters", "default", "no-ipv4-unicast"]:
                general.append("no bgp default ipv4-unicast")
            case ["parameters", "deterministic-med"]:
                general.append("bgp deterministic-med")
            case ["parameters", "log-neighbor-changes"]:
                general.append("bgp log-neighbor-changes")
            case ["timers", kind, seconds] if kind in ("keepalive", "holdtime"):
                self._node.part("bgp", "timers")[kind] = [seconds]
            case ["listen", "range", prefix, "peer-group", name]:
                general.append(f"bgp listen range {prefix} peer-group {name}")
            case ["address-family", family, *rest] if family in FAMILIES:
                return self._of_family(FAMILIES[family], rest)
            case ["neighbor", name, *rest]:
                return self._of_neighbor(name, rest)
            case ["peer-group", name, *rest]:
                known = f"neighbor {name} peer-group"
                if known not in general:
                    general.append(known)
                return not rest or self._of_neighbor(name, rest)
            case _:
                return False
        return True

    def _of_family(self, family: str, words: list[str]) -> bool:
        lines = self._bgp.families.setdefault(family, [])
        match words:
            case ["network", prefix]:
                lines.append(f"network {prefix}")
            case ["redistribute", "nhrp", *_]:
                lines.append(announcement(family, self._node))
            case ["redistribute", source]:
                lines.append(f"redistribute {source}")
            case ["aggregate-address", prefix]:
                lines.append(f"aggregate-address {prefix}")
            case []:
                pass
            case _:
                return False
        return True

    def _of_neighbor(self, name: str, words: list[str]) -> bool:
        match words:
            case []:
                pass
            case ["address-family", family, *rest] if family in FAMILIES:
                lines = self._bgp.families.setdefault(FAMILIES[family], [])
                if not rest:
                    lines.append(f"neighbor {name} activate")
                    return True
                word = OF_NEIGHBOR.get(rest[0])
                if word is None:
                    return False
                lines.append(" ".join(["neighbor", name, word, *rest[1:]]))
            case ["timers", kind, seconds] if kind in ("keepalive", "holdtime"):
                self._node.part("bgp", f"timers {name}")[kind] = [seconds]
            case ["description", *_]:
                pass
            case [word, *rest] if word in GENERAL_OF_NEIGHBOR:
                if word == "password":
                    self._node.hidden.update(rest)
                self._bgp.general.append(" ".join(["neighbor", name, word, *rest]))
            case _:
                return False
        return True

    def finish(self) -> None:
        """Puts the lines in FRR's order."""
        if not self._number:
            return
        bgp = self._bgp
        bgp.head = f"router bgp {self._number}"
        for (kind, name), part in self._node.parts.items():
            if kind == "bgp":
                neighbor = name.removeprefix("timers").strip()
                prefix = f"neighbor {neighbor} " if neighbor else ""
                kept = part.get("keepalive", ["60"])[-1]
                held = part.get("holdtime", ["180"])[-1]
                word = "timers" if neighbor else "timers bgp"
                bgp.general.append(f"{prefix}{word} {kept} {held}")
        bgp.general = sorted(dict.fromkeys(bgp.general), key=_order)
        self._node.routing += [*bgp.lines(), "!"]


def _order(line: str) -> int:
    """Groups before what refers to them, and the AS of a neighbour before all else of it."""
    if line.endswith(" peer-group"):
        return 1
    if " remote-as " in line:
        return 2
    if line.startswith("neighbor ") and " peer-group " in line:
        return 3
    return 4 if line.startswith(("neighbor ", "bgp listen")) else 0
