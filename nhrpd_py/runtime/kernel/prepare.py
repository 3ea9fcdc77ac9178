"""Sets a tunnel's link up for NHRP.

NOARP is cleared and the probes of the neighbour tables directed to us (RTM_SETLINK,
RTM_SETNEIGHTBL); ICMP redirects are disabled. The kernel sends those when the link's
`send_redirects` *or* that of `all` is set, and netlink can set only the link's: the one of `all` is
a file below /proc/sys, which is written if we may write it; else a notice has the command. Clearing
it leaves every other link to its own setting.
"""

import errno
import socket
from collections import Counter
from pathlib import Path

from nhrpd_py.runtime.netlink import rtnl
from nhrpd_py.runtime.netlink.requests import Requests
from nhrpd_py.runtime.netlink.socket import NetlinkError


async def prepare(requests: Requests, ifindex: int) -> Counter[str]:
    """Prepares a link; returns the missing settings that NHRP can do without, counted by name.
    Raises NetlinkError."""
    lacking: Counter[str] = Counter()
    await requests.ask(rtnl.RTM_SETLINK, 0, rtnl.clear_noarp(ifindex), "clear NOARP")
    for family in (socket.AF_INET, socket.AF_INET6):
        payload = rtnl.solicit_to_us(family, ifindex)
        try:
            await requests.ask(rtnl.RTM_SETNEIGHTBL, 0, payload, "direct solicitations to us")
        except NetlinkError as error:
            # no IPv6 in this kernel or on this link (its MTU is below 1280): there is nothing to
            # solicit
            if family == socket.AF_INET or error.errno != errno.ENOENT:
                raise
            lacking["no_ipv6_neighbors"] += 1
    try:
        await requests.ask(rtnl.RTM_SETLINK, 0, rtnl.stop_redirects(ifindex), "stop redirects")
    except NetlinkError:  # NHRP works; hosts behind the hub get redirects of two kinds
        lacking["send_redirects_refused"] += 1
    return lacking


def stop_redirects_of_all(setting: Path) -> str | None:
    """Clears `send_redirects` of `all` if it is set; returns why it cannot, or None.

    No request of rtnetlink can do it: RTM_SETLINK takes no `all`, and RTM_NEWNETCONF cannot be set
    (EOPNOTSUPP). IPv6 has no such setting.
    """
    try:
        if setting.read_text().strip() == "0":
            return None
        setting.write_text("0\n")
    except OSError as error:  # /proc/sys is read-only under systemd's ProtectKernelTunables=
        return (
            "hosts behind this one get ICMP redirects that lead nowhere, for "
            f"net.ipv4.conf.all.send_redirects cannot be cleared ({error.strerror or error}): "
            "sysctl -w net.ipv4.conf.all.send_redirects=0"
        )
    return None
