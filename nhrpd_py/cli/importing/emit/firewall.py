"""Writes the rules for the packet filter."""

from collections.abc import Iterator

from nhrpd_py.cli.importing.emit.output import Output
from nhrpd_py.cli.importing.node import Node, Tunnel

DEFAULT_GROUP = 1
LIMIT = (
    "--hashlimit-upto 4/minute --hashlimit-burst 1 --hashlimit-mode srcip,dstip "
    "--hashlimit-srcmask {length} --hashlimit-dstmask {length} --hashlimit-name {name}-{number}"
)


def rules(node: Node, suffix: str) -> Iterator[Output]:
    """Yields the rules for each family that needs some."""
    hubs = [tunnel for tunnel in node.speakers if tunnel.has("redirect")]
    samples = list(_samples(node, hubs, node.sampling, length=16, name="loglimit"))
    clamps = [_clamp(each, each.device.mss) for each in node.speakers if each.device.mss]
    if samples or clamps:
        yield _file("iptables", suffix, HEAD_IPV4 if samples else (), samples, clamps)
    six = [tunnel for tunnel in hubs if tunnel.carries_ipv6]
    samples = list(_samples(node, six, None, length=64, name="loglimit6"))
    clamps = [_clamp(each, each.device.mss6) for each in node.speakers if each.device.mss6]
    if samples or clamps:
        yield _file("ip6tables", suffix, HEAD_IPV6 if samples else (), samples, clamps)


HEAD_IPV4 = (
    "# Samples of what the hub sends back into the tunnel go to nhrpd, which tells the senders that there",
    "# is a shorter way: at most 4 a minute for each pair of /16 networks (24 where all sites are in one /16).",
    "# The rule stands first: behind one that accepts established connections it would see little.",
    "# It takes the place of one that is there already. With nftables: etc/nftables-hub.conf of nhrpd.",
)
HEAD_IPV6 = ("# Samples of IPv6, as of IPv4: at most 4 a minute for each pair of /64 networks.",)


def _samples(
    node: Node, hubs: list[Tunnel], limits: str | None, *, length: int, name: str
) -> Iterator[str]:
    setting = node.general.get(("nflog", "redirect-group"))
    group = DEFAULT_GROUP if setting is None else setting.value
    for number, tunnel in enumerate(hubs):
        limit = limits or LIMIT.format(number=number, length=length, name=name)
        yield (
            f"-I FORWARD 1 -i {tunnel.netdev} -o {tunnel.netdev} -m hashlimit {limit} "
            f"-j NFLOG --nflog-group {group} --nflog-size 128"
        )


def _clamp(tunnel: Tunnel, size: int | None) -> str:
    return (
        f"-A FORWARD -o {tunnel.netdev} -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS "
        f"--set-mss {size}"
    )


def _file(
    tool: str, suffix: str, head: tuple[str, ...], samples: list[str], clamps: list[str]
) -> Output:
    lines = [
        f"# The packet filter, made by nhrpctl import: `{tool}-restore --noflush` this file.",
        *head,
    ]
    for table, each in (("filter", samples), ("mangle", clamps)):
        if each:
            lines += [f"*{table}", *each, "COMMIT"]
    return Output(f"{tool}{suffix}.rules", f"({tool}-restore --noflush)", "\n".join(lines) + "\n")
