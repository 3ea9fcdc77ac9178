"""What the daemon listens to besides its tunnels: NFLOG's two groups and ICMP.

Each listens only where the configuration needs it, and may fail without ending the daemon: it is
tried again, and what is lost meanwhile stands in the status.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import trio

from nhrpd_py.core.config import Config
from nhrpd_py.runtime.icmp.listener import IcmpError, IcmpListener
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.needs import interfaces, multicast_group, redirect_group
from nhrpd_py.runtime.netlink.nflog import Nflog, NflogError
from nhrpd_py.runtime.steered import Steered


class Listeners:
    """The listeners of one run of the daemon. `parts` are what starts and stops them."""

    def __init__(self, inbox: Inbox) -> None:
        samples, multicast, icmp = Nflog(inbox), Nflog(inbox, whole=True), IcmpListener(inbox)
        self.counters: Mapping[str, Mapping[str, int]] = {
            "nflog": samples.counters,
            "nflog-multicast": multicast.counters,
            "icmp": icmp.counters,
        }
        """The counters of each, by its name."""
        self.parts: Sequence[Steered[Any]] = (
            Steered(
                "nflog",
                redirect_group,
                samples.run,
                isolates=(NflogError,),
                loss="no redirects",
            ),
            Steered(
                "nflog-multicast",
                multicast_group,
                multicast.run,
                isolates=(NflogError,),
                loss="no multicast",
            ),
            Steered(
                "icmp",
                interfaces,
                icmp.run,
                isolates=(IcmpError,),
                loss="silence has no reasons",
            ),
        )

    async def steer(self, nursery: trio.Nursery, config: Config) -> None:
        """Starts, restarts and stops them as a configuration requires."""
        for part in self.parts:
            await part.steer(nursery, config)
