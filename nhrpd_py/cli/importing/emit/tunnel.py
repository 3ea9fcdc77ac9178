"""Writes what makes the tunnel's netdev: for ifupdown, for systemd-networkd, or as `ip` commands."""

from collections.abc import Iterator

from nhrpd_py.cli.importing.emit.output import Output
from nhrpd_py.cli.importing.node import Device, Node, Tunnel

HEAD = "# The tunnel, made by nhrpctl import. No remote end: nhrpd finds the peers."


def netdevs(node: Node, kind: str) -> Iterator[Output]:
    for tunnel in node.speakers:
        if not tunnel.device.known:
            node.note(
                f"{tunnel.netdev} is made by other means than this configuration: leave it as it is. It must be "
                "GRE without a remote end, with a ttl, and with `local` or `dev`; `nhrpctl check` looks."
            )
        elif kind == "networkd":
            yield from _networkd(tunnel)
        elif kind == "ifupdown":
            yield _ifupdown(tunnel)
        else:
            yield _commands(tunnel)


def _remarks(device: Device) -> Iterator[str]:
    if device.link_remark:
        yield f"# {device.link or device.local}: {device.link_remark}."


def _make(name: str, device: Device) -> str:
    parts = [f"ip tunnel add {name} mode gre"]
    if device.key is not None:
        parts.append(f"key {device.key}")
    parts.append(f"ttl {device.ttl}")
    if device.local is not None:
        parts.append(f"local {device.local}")
    if device.link is not None:
        parts.append(f"dev {device.link}")
    return " ".join(parts)


def _commands(tunnel: Tunnel) -> Output:
    device, name = tunnel.device, tunnel.netdev
    lines = ["#!/bin/sh", HEAD, *_remarks(device), _make(name, device)]
    lines += [f"ip address add {address} dev {name}" for address in device.addresses]
    mtu = f" mtu {device.mtu}" if device.mtu is not None else ""
    lines.append(f"ip link set {name}{mtu} up")
    return Output(f"tunnel-{name}.sh", "(commands)", "\n".join(lines) + "\n")


def _ifupdown(tunnel: Tunnel) -> Output:
    device, name = tunnel.device, tunnel.netdev
    lines = [HEAD, *_remarks(device), "", f"auto {name}"]
    four = [each for each in device.addresses if ":" not in each]
    six = [each for each in device.addresses if ":" in each]
    made = _make("$IFACE", device)
    lines.append(f"iface {name} inet {'static' if four else 'manual'}")
    lines.append(f"    pre-up {made} || true")
    if four:
        address, _, length = four[0].partition("/")
        lines += [f"    address {address}", f"    netmask {mask_of(int(length))}"]
    if device.mtu is not None:
        lines.append(f"    up ip link set $IFACE mtu {device.mtu}")
    if not four:
        lines.append("    up ip link set $IFACE up")
    lines += [f"    up ip address add {address} dev $IFACE" for address in [*four[1:], *six]]
    lines.append("    post-down ip tunnel del $IFACE || true")
    return Output(f"ifupdown-{name}", f"/etc/network/interfaces.d/{name}", "\n".join(lines) + "\n")


def mask_of(length: int) -> str:
    bits = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return ".".join(str(bits >> shift & 0xFF) for shift in (24, 16, 8, 0))


def _networkd(tunnel: Tunnel) -> Iterator[Output]:
    device, name = tunnel.device, tunnel.netdev
    lines = [HEAD, *_remarks(device)]
    if device.local is None:
        lines.append(
            "# Local=any leaves the outer address to the kernel: tunnel-source in nhrpd.toml names the link."
        )
    lines += ["", "[NetDev]", f"Name={name}", "Kind=gre"]
    if device.mtu is not None:
        lines.append(f"MTUBytes={device.mtu}")
    lines += ["", "[Tunnel]", "Independent=true", f"Local={device.local or 'any'}", "Remote=any"]
    if device.key is not None:
        lines.append(f"Key={device.key}")
    lines.append(f"TTL={device.ttl}")
    yield Output(
        f"systemd-networkd-{name}.netdev",
        f"/etc/systemd/network/30-{name}.netdev",
        "\n".join(lines) + "\n",
    )
    lines = [
        "# The tunnel's address, made by nhrpctl import.",
        "",
        "[Match]",
        f"Name={name}",
        "",
        "[Network]",
    ]
    lines += [f"Address={address}" for address in device.addresses]
    lines += [
        "LinkLocalAddressing=no",
        "# What nhrpd put on the interface stays there when networkd starts again.",
        "KeepConfiguration=yes",
        "ConfigureWithoutCarrier=yes",
    ]
    yield Output(
        f"systemd-networkd-{name}.network",
        f"/etc/systemd/network/30-{name}.network",
        "\n".join(lines) + "\n",
    )
