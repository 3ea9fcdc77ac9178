"""Writes the rules for the packet filter."""

from nhrpd_py.cli.importing.emit.output import Output
from nhrpd_py.cli.importing.node import Node

DEFAULT_GROUP = 1
LIMIT = (
    "--hashlimit-upto 4/minute --hashlimit-burst 1 --hashlimit-mode srcip,dstip "
    "--hashlimit-srcmask 16 --hashlimit-dstmask 16 --hashlimit-name loglimit-{number}"
)


def rules(node: Node, suffix: str) -> Output | None:
    hubs = [tunnel for tunnel in node.speakers if tunnel.has("redirect")]
    clamped = [tunnel for tunnel in node.speakers if tunnel.device.mss is not None]
    if not hubs and not clamped:
        return None
    lines = ["# The packet filter, made by nhrpctl import: `iptables-restore --noflush` this file."]
    if hubs:
        setting = node.general.get(("nflog", "redirect-group"))
        group = DEFAULT_GROUP if setting is None else setting.value
        lines += [
            "# Samples of what the hub sends back into the tunnel go to nhrpd, which tells the senders that there",
            "# is a shorter way: at most 4 a minute for each pair of /16 networks (24 where all sites are in one /16).",
            "# The rule stands first: behind one that accepts established connections it would see little.",
            "# It takes the place of one that is there already. With nftables: etc/nftables-hub.conf of nhrpd.",
            "*filter",
        ]
        lines += [
            f"-I FORWARD 1 -i {tunnel.netdev} -o {tunnel.netdev} -m hashlimit "
            f"{node.sampling or LIMIT.format(number=number)} -j NFLOG --nflog-group {group} "
            "--nflog-size 128"
            for number, tunnel in enumerate(hubs)
        ]
        lines.append("COMMIT")
    if clamped:
        lines.append("*mangle")
        lines += [
            f"-A FORWARD -o {tunnel.netdev} -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS "
            f"--set-mss {tunnel.device.mss}"
            for tunnel in clamped
        ]
        lines.append("COMMIT")
    return Output(
        f"iptables{suffix}.rules", "(iptables-restore --noflush)", "\n".join(lines) + "\n"
    )
