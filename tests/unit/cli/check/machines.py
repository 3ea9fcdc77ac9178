"""Facts of a machine on which all is well, to spoil one by one."""

from dataclasses import replace
from typing import Any

from nhrpd_py.cli.check.facts import (
    CharonFacts,
    DaemonFacts,
    Facts,
    FirewallFacts,
    IpsecFacts,
    KernelFacts,
    Link,
    Listener,
    Process,
    SamplingRule,
)
from nhrpd_py.cli.check.findings import Finding, State
from nhrpd_py.cli.check.report import findings
from nhrpd_py.core.config import (
    AuthorizeConfig,
    AuthorizeRule,
    Config,
    InterfaceConfig,
    IpsecConfig,
    NhsConfig,
    Unlisted,
)
from nhrpd_py.core.config_rows import config_rows
from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.paths import CONTROL_SOCKET
from nhrpd_py.runtime.guard.gre_block import block_policies

NOW = 1_800_000_000.0
ETH0 = Link(name="eth0", up=True, mtu=1500, addresses=(("192.0.2.1", 24, "global"),))
GRE1 = Link(
    name="gre1",
    up=True,
    mtu=1400,
    flags=frozenset({"UP"}),
    kind="gre",
    data={
        "remote": "any",
        "local": "any",
        "link": "eth0",
        "ttl": 64,
        "ikey": "0.0.0.42",
        "okey": "0.0.0.42",
    },
    addresses=(("10.255.255.1", 32, "global"),),
)
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/ip_forward_use_pmtu": "1",
    "net/ipv4/neigh/default/gc_thresh3": "1024",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/gre1/send_redirects": "0",
    "net/ipv4/conf/all/rp_filter": "2",
    "net/ipv4/conf/gre1/rp_filter": "0",
    "net/ipv4/neigh/gre1/app_solicit": "1",
    "net/ipv4/neigh/gre1/mcast_solicit": "0",
    "net/ipv4/neigh/gre1/ucast_solicit": "0",
}
MODULES = dict.fromkeys(("ip_gre", "ip6_gre", "nfnetlink_log", "esp4", "xfrm_user"), True)
RULE = SamplingRule(
    tool="iptables", family="ip", group=1, inputs=("gre1",), outputs=("gre1",), packets=3
)
CHILD = {
    "mode": b"transport",
    "local_ts": [b"dynamic[gre]"],
    "remote_ts": [b"dynamic[gre]"],
    "mark_in": b"%unique",
    "set_mark_in": b"%same",
}
CONNECTION = {
    "local-1": {"auth": b"psk"},
    "remote-1": {"auth": b"psk", "id": b"*.vpn.example"},
    "children": {"dmvpn": CHILD},
}
PROTECTED = InterfaceConfig(
    name="gre1",
    network_id=1,
    redirect=True,
    ipsec=IpsecConfig(profile="dmvpn"),
    authorize=AuthorizeConfig(
        rules=(AuthorizeRule(identity="*.vpn.example"),), unlisted=Unlisted.DENY
    ),
)
CLEAR = InterfaceConfig(name="gre1", network_id=1, redirect=True)
SPOKE = InterfaceConfig(
    name="gre1",
    network_id=1,
    shortcut=True,
    nhs=(NhsConfig(protocol=None, nbma="hub1.vpn.example"),),
)


def a_config(interface: InterfaceConfig = PROTECTED) -> Config:
    return Config(interfaces={interface.name: interface})


def a_kernel(*links: Link, sysctls: dict[str, str] | None = None, **changes: Any) -> KernelFacts:
    values: dict[str, Any] = {
        "links": {each.name: each for each in links or (ETH0, GRE1)},
        "routes": (),
        "sysctls": SYSCTLS | (sysctls or {}),
        "modules": MODULES,
        "release": "6.1",
        "protocols": {208: "nhrpd"},
        "udp_ports": frozenset({500, 4500}),
    }
    return KernelFacts(**(values | changes))


def a_daemon(obeyed: Config, status: dict[str, Any] | None = None, **views: Any) -> DaemonFacts:
    rows = [{"path": row.path, "value": row.value} for row in config_rows(obeyed, None)]
    said = {"version": "1", "problems": {}, "counters": {"nflog": {"packets": 3}}}
    shown: dict[str, Any] = {"config": rows}
    return DaemonFacts(
        status=said | (status or {}),
        process=Process(pid=7, user="nhrpd", capabilities=3 << 12),
        views=shown | views,
    )


def a_charon(**changes: Any) -> CharonFacts:
    values: dict[str, Any] = {
        "version": "5.9.8",
        "loaded": frozenset({"dmvpn"}),
        "private_keys": 1,
        "template": {"dmvpn": CONNECTION},
    }
    return CharonFacts(**(values | changes))


def a_machine(interface: InterfaceConfig = PROTECTED, **changes: Any) -> Facts:
    config = a_config(interface)
    values: dict[str, Any] = {
        "config": config,
        "file": "/etc/nhrpd/nhrpd.toml",
        "now": NOW,
        "version": "1",
        "kernel": a_kernel(),
        "firewall": FirewallFacts(
            rules=[RULE], tools=frozenset({"iptables"}), listeners={1: Listener(7, "nhrpd")}
        ),
        "ipsec": IpsecFacts(policies=block_policies(ProtectedGre(42, 42))),
        "charon": a_charon() if interface.ipsec is not None else None,
        "daemon": a_daemon(config),
        "socket": CONTROL_SOCKET,
        "clock_synchronised": True,
    }
    return Facts(**(values | changes))


def gre1(**changes: Any) -> Link:
    """The tunnel, changed; unknown names go into its data."""
    data = {name: changes.pop(name) for name in list(changes) if name in GRE1.data}
    kept = {name: value for name, value in (dict(GRE1.data) | data).items() if value is not None}
    return replace(GRE1, data=kept, **changes)


def complaints(facts: Facts) -> list[Finding]:
    """What is not ok."""
    return [each for each in findings(facts) if each.state is not State.OK]


def the_complaint(facts: Facts) -> Finding:
    """The one thing that is not ok."""
    (found,) = complaints(facts)
    return found
