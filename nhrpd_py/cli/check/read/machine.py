"""Reads the kernel's side of a machine: links, routes, settings, modules, firewall, IPsec.

Everything works without privileges, as far as the kernel lets; what it keeps for root is an Unread.
"""

import ctypes
import errno
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from nhrpd_py.cli.check.facts import (
    BaseChain,
    FirewallFacts,
    IpsecFacts,
    KernelFacts,
    Link,
    Listener,
    Row,
)
from nhrpd_py.cli.check.findings import Unread
from nhrpd_py.cli.check.parse.firewall import sampling_rules
from nhrpd_py.cli.check.parse.iptables import iptables_chains
from nhrpd_py.cli.check.parse.nft import nft_chains
from nhrpd_py.cli.check.read.programs import is_there, json_of, output_of
from nhrpd_py.runtime.netlink.socket import NetlinkError
from nhrpd_py.runtime.netlink.xfrm_socket import open_xfrm, read_statistics

PROC = Path("/proc")
MODULES = ("ip_gre", "ip6_gre", "nfnetlink_log", "esp4", "xfrm_user")
PROTOCOL_FILES = (
    *("/usr/share/iproute2/rt_protos", "/usr/lib/iproute2/rt_protos", "/etc/iproute2/rt_protos"),
)
UNCOUNTED = {"PERMANENT", "NOARP"}
NETLINK_NETFILTER = 12
STA_UNSYNC = 0x40
ADJTIMEX_SIZE = 256
STATUS_OFFSET = 40
"""Of `status` in struct timex where a long has 64 bits (linux/timex.h)."""
SOME_ADDRESSES = 4
NEEDS_ROOT = "for root alone"
AS_ROOT = "sudo nhrpctl check"


def needs_root(what: str) -> Unread:
    """Returns what stands in for a fact that only root can read."""
    return Unread(f"{what}: {NEEDS_ROOT}", AS_ROOT)


def is_root() -> bool:
    return os.geteuid() == 0


# --- links, routes, settings ----------------------------------------------------------------------


def read_kernel(interfaces: Iterable[str]) -> KernelFacts:
    """Reads the kernel, and its settings for the interfaces of the configuration."""
    links = _links()
    names = list(interfaces)
    devices = ["all", "default", *names]
    if not isinstance(links, Unread):
        devices += [str(links[name].data.get("link")) for name in names if name in links]
    return KernelFacts(
        links=links,
        routes=_routes(),
        counted_neighbors=_counted_neighbors(),
        sysctls=_sysctls(devices, () if isinstance(links, Unread) else links),
        modules=_modules(platform.release()),
        release=platform.release(),
        protocols=_protocols(),
        udp_ports=_udp_ports(),
    )


def _links() -> Mapping[str, Link] | Unread:
    links = json_of("ip", "-json", "-details", "link", "show")
    addresses = json_of("ip", "-json", "address", "show")
    for found in (links, addresses):
        if isinstance(found, Unread):
            return Unread(found.why, "apt install iproute2")
    held: dict[str, tuple[tuple[str, int, str], ...]] = {
        row["ifname"]: tuple(
            (each["local"], each["prefixlen"], each["scope"])
            for each in row.get("addr_info", ())
            if "local" in each
        )
        for row in addresses
        if "ifname" in row
    }
    return {row["ifname"]: _link(row, held.get(row["ifname"], ())) for row in links if row}


def _link(row: Row, addresses: tuple[tuple[str, int, str], ...]) -> Link:
    info = row.get("linkinfo") or {}
    return Link(
        name=row["ifname"],
        up="UP" in row.get("flags", ()),
        mtu=int(row.get("mtu", 0)),
        index=int(row.get("ifindex", 0)),
        flags=frozenset(row.get("flags", ())),
        kind=str(info.get("info_kind", "")),
        data=info.get("info_data") or {},
        addrgenmode=str(row.get("inet6_addr_gen_mode", "")),
        master=str(row.get("master", "")),
        addresses=addresses,
    )


def _routes() -> list[Row] | Unread:
    found: list[Row] = []
    for family in ("-4", "-6"):
        rows = json_of("ip", "-json", family, "route", "show", "table", "all")
        if isinstance(rows, Unread):
            return rows
        found += rows
    return found


def read_ways(
    links: Mapping[str, Link] | Unread, remotes: Iterable[str]
) -> dict[tuple[str, str], Row]:
    """Asks the kernel for the routes to outer addresses of peers, from each link's first address.

    Leaves out what it refuses.
    """
    held = [
        next((address for address, _length, scope in link.addresses if scope == "global"), None)
        for link in (() if isinstance(links, Unread) else links.values())
        if link.kind not in ("gre", "ip6gre")
    ]
    own = [address for address in held if address is not None][:SOME_ADDRESSES]
    found = {}
    for remote in dict.fromkeys(remotes):
        for local in own:
            if (":" in remote) == (":" in local):
                rows = json_of("ip", "-json", "route", "get", remote, "from", local)
                if isinstance(rows, list) and rows:
                    found[remote, local] = rows[0]
    return found


def _counted_neighbors() -> int:
    rows = json_of("ip", "-json", "-4", "neighbor", "show", "nud", "all")
    if isinstance(rows, Unread):
        return 0
    return sum(not UNCOUNTED & set(row.get("state", ())) for row in rows)


def _sysctls(devices: Sequence[str], links: Iterable[str]) -> dict[str, str]:
    paths = [
        *("net/ipv4/ip_forward", "net/ipv4/ip_forward_use_pmtu"),
        *("net/ipv6/conf/all/forwarding", "net/ipv4/neigh/default/gc_thresh3"),
    ]
    for device in devices:
        paths.append(f"net/ipv4/conf/{device}/send_redirects")
        for family in ("ipv4", "ipv6"):
            conf, neigh = f"net/{family}/conf/{device}", f"net/{family}/neigh/{device}"
            paths += [f"{conf}/disable_xfrm", f"{conf}/disable_policy"]
            paths += [f"{neigh}/{name}_solicit" for name in ("app", "mcast", "ucast")]
    paths += [f"net/ipv4/conf/{device}/rp_filter" for device in {*devices, *links}]
    found = {}
    for path in paths:
        text = text_of(PROC / "sys" / path)
        if text is not None:
            found[path] = text.strip()
    return found


def text_of(path: Path) -> str | None:
    """Returns the text of a file; None where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _modules(release: str) -> Mapping[str, bool] | Unread:
    there = {name for name in MODULES if Path("/sys/module", name).exists()}
    directory = Path("/lib/modules") / release
    known = 0
    for file_name in ("modules.dep", "modules.builtin"):
        text = text_of(directory / file_name)
        known += text is not None
        for line in (text or "").splitlines():
            name = Path(line.partition(":")[0]).name.partition(".")[0].replace("-", "_")
            there.add(name)
    if not known and not there.issuperset(MODULES):
        return Unread(f"{directory} has no list of modules, and not all are loaded")
    return {name: name in there for name in MODULES}


def _protocols() -> dict[int, str]:
    found: dict[int, str] = {}
    files = [Path(name) for name in PROTOCOL_FILES]
    for name in PROTOCOL_FILES:
        directory = Path(f"{name}.d")
        if directory.is_dir():
            files += sorted(directory.glob("*.conf"))
    for file in files:
        for line in (text_of(file) or "").splitlines():
            words = line.partition("#")[0].split()
            if len(words) == 2 and words[0].isdigit():  # noqa: PLR2004 (number and name)
                found[int(words[0])] = words[1]
    return found


def _udp_ports() -> frozenset[int] | Unread:
    texts = [text_of(PROC / "net" / name) for name in ("udp", "udp6")]
    if texts[0] is None:
        return Unread("/proc/net/udp cannot be read")
    lines = [line.split() for text in texts for line in (text or "").splitlines()[1:]]
    return frozenset(int(words[1].rpartition(":")[2], 16) for words in lines if len(words) > 1)


def clock_synchronised() -> bool | None:
    """Tells whether something keeps the clock right (adjtimex(2)); None where nobody knows."""
    if ctypes.sizeof(ctypes.c_long) != 8:  # noqa: PLR2004 (see STATUS_OFFSET)
        return None
    timex = ctypes.create_string_buffer(ADJTIMEX_SIZE)
    try:
        failed = ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0
    except (OSError, AttributeError):
        return None
    if failed:
        return None
    status = int.from_bytes(timex.raw[STATUS_OFFSET : STATUS_OFFSET + 4], "little")
    return not status & STA_UNSYNC


# --- firewall -------------------------------------------------------------------------------------


FIREWALL_TOOLS = ("iptables", "ip6tables", "nft")


def read_firewall() -> FirewallFacts:
    """Reads the rules and the listeners of NFLOG, as far as this user may."""
    tools = frozenset(map(_in_use, filter(is_there, FIREWALL_TOOLS)))
    if not is_root():
        hidden = needs_root("firewall rules")
        return FirewallFacts(rules=hidden, tools=tools, listeners=needs_root("listeners of NFLOG"))
    saved = dict(_saved())
    document: Any = json_of("nft", "-j", "list", "ruleset")
    ruleset = document if isinstance(document, dict) else {}
    routing: Any = json_of("ip", "-json", "rule")
    if not saved and not isinstance(document, dict):
        silent = Unread("neither iptables nor nft tell rules", "apt install nftables")
        return FirewallFacts(rules=silent, tools=tools, listeners=_listeners())
    try:
        chains = _chains(saved, ruleset)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        odd = Unread(f"the packet filter's rules are not understood ({error!r})")
        return FirewallFacts(rules=odd, tools=tools, listeners=_listeners())
    return FirewallFacts(
        rules=sampling_rules(chains),
        chains=chains,
        tools=tools,
        listeners=_listeners(),
        saved=saved,
        ruleset=ruleset,
        routing_rules=routing if isinstance(routing, list) else (),
    )


def _saved() -> Iterator[tuple[str, str]]:
    """Yields what each kind of iptables prints, by its name."""
    for command in ("iptables", "ip6tables"):
        for variant in ("legacy", "nft"):
            text = output_of(f"{command}-{variant}-save", "-c")
            if not isinstance(text, Unread):
                yield f"{command}-{variant}", text


def _in_use(command: str) -> str:
    """Returns the name of a command that works on the tables that the kernel has.

    An iptables that is made of nftables does not see tables of the old kind.
    """
    legacy = f"{command}-legacy"
    names = {"iptables": "ip_tables_names", "ip6tables": "ip6_tables_names"}.get(command)
    if names is None or not is_there(legacy) or not text_of(PROC / "net" / names):
        return command
    return legacy


def _chains(saved: Mapping[str, str], ruleset: Mapping[str, Any]) -> list[BaseChain]:
    found: list[BaseChain] = []
    for tool, text in saved.items():
        family = "ip6" if tool.startswith("ip6") else "ip"
        found += iptables_chains(text, tool=tool, family=family)
    return [*found, *nft_chains(ruleset)]


def _listeners() -> Mapping[int, Listener] | Unread:
    text = text_of(PROC / "net/netfilter/nfnetlink_log")
    if text is None:
        return {}  # the module comes with the first listener
    ports = {int(words[0]): int(words[1]) for words in map(str.split, text.splitlines())}
    inodes = _netfilter_sockets()
    owners = _owners({inodes[port] for port in ports.values() if port in inodes})
    return {
        group: owners.get(inodes.get(port, ""), Listener(None, "")) for group, port in ports.items()
    }


def _netfilter_sockets() -> dict[int, str]:
    """Returns the inodes of netfilter's netlink sockets in this network namespace by their ports."""
    found = {}
    for line in (text_of(PROC / "net/netlink") or "").splitlines()[1:]:
        words = line.split()
        if int(words[1]) == NETLINK_NETFILTER:
            found[int(words[2])] = words[-1]
    return found


def _owners(inodes: set[str]) -> dict[str, Listener]:
    found = {}
    for descriptor, target in _descriptors():
        inode = target.removeprefix("socket:[").removesuffix("]")
        if inode in inodes:
            process = descriptor.parents[1]
            words = (text_of(process / "cmdline") or "").split("\0")
            found[inode] = Listener(int(process.name), " ".join(words).strip())
    return found


def _descriptors() -> Iterator[tuple[Path, str]]:
    for process in PROC.iterdir():
        if not process.name.isdigit():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                yield descriptor, str(descriptor.readlink())
        except OSError:  # it ended, or this user may not look
            continue


# --- IPsec ----------------------------------------------------------------------------------------


def read_ipsec() -> IpsecFacts:
    """Reads the policies and the counters of the kernel."""
    return trio.run(_ipsec)


async def _ipsec() -> IpsecFacts:
    """Nothing in here waits, but the socket has to be closed within trio."""
    statistics = read_statistics()
    try:
        xfrm = open_xfrm()
    except OSError as error:
        why = error.strerror or str(error)
        return IpsecFacts(policies=Unread(f"IPsec policies: {why}"), statistics=statistics)
    try:
        return IpsecFacts(policies=xfrm.policies(), statistics=statistics)
    except NetlinkError as error:
        hidden = error.errno in (errno.EPERM, errno.EACCES)
        what = needs_root("IPsec policies") if hidden else Unread(f"IPsec policies: {error}")
        return IpsecFacts(policies=what, statistics=statistics)
    finally:
        xfrm.close()
