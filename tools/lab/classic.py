"""A node of the classic DMVPN: charon, zebra and bgpd, and nhrpd, all with the files of etc/.

    with Lab(private_run=True, static=False) as lab:
        dmvpn(lab, hub=ClassicNode, spokes=(ClassicNode, ClassicNode))

Every node has the resolver that knows `hub1.vpn.example` and so on; see tools/lab/README.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tools.lab.charon import Charon, Ipsec
from tools.lab.machine import Role
from tools.lab.nodes import NhrpdNode
from tools.lab.resolver import DOMAIN
from tools.lab.routing import SAMPLES, Routing, hub_configuration, spoke_configuration


@dataclass(slots=True, eq=False, kw_only=True)
class ClassicNode(NhrpdNode):
    """A node with charon, BGP and nhrpd. `charon` and `routing` exist from `start` on."""

    ipsec: Ipsec | None = field(default_factory=Ipsec)
    """None: GRE in clear, no charon."""
    bgp: bool = True
    protected: bool = True
    """Whether nhrpd is configured for IPsec; charon runs in any case."""
    server: str = "hub1"
    """The node that a spoke registers with."""
    settings: str = ""
    """Lines for `[interface.gre1]`."""
    ipsec_settings: str = ""
    """Lines for `[interface.gre1.ipsec]`."""
    charon: Charon = field(init=False)
    routing: Routing = field(init=False)
    _built: bool = False

    @property
    def identity(self) -> str:
        """Returns the node's name in DNS, which is also its IKE identity."""
        return f"{self.name}.{DOMAIN}"

    def configuration(self) -> str:
        """Returns nhrpd.toml, the sample with the lab's paths, names and times in it."""
        text = (SAMPLES / f"nhrpd-{self.role.value}.toml").read_text()
        text = re.sub(r"(?m)^holding-time = 600", f"holding-time = {self.holding_time_s}", text)
        text = text.replace("hub1.example.net", f"{self.server}.{DOMAIN}")
        text = text.replace("[interface.gre1]\n", f"[interface.gre1]\n{self.settings}")
        section = '[interface.gre1.ipsec]\nprofile = "dmvpn"\n'
        text = text.replace(section, section + self.ipsec_settings)
        if self.ipsec is None or not self.protected:
            text = text.replace(section, "")
        daemon = (
            "[daemon]",
            f'control-socket = "{self.socket_path}"',
            f'state-directory = "{self.directory}"',
            f'log-level = "{self.log_level}"',
        )
        return "\n".join(daemon) + "\n" + text + self.extra

    def start(self) -> None:
        """See `Node.start`. Starts charon and FRR first, where they do not run yet."""
        self.start_services()
        NhrpdNode.start(self)

    def start_services(self) -> None:
        """Starts all services but nhrpd, unless they run."""
        self._build()
        for node in self.lab.nodes:
            name = f"{node.name}.{DOMAIN}"
            if name not in self.lab.resolver.names:
                self.lab.resolver.set(name, node.nbma)
        if self.ipsec is not None and not self.charon.running:
            self.charon.start()
        if self.bgp and not self.routing.running:
            self.routing.configuration = self.frr_conf()
            self.routing.start()

    def kill(self) -> None:
        """See `Node.kill`; only nhrpd."""
        NhrpdNode.kill(self)

    def power_off(self) -> None:
        """Ends everything at once and empties the kernel; `power_on` boots the node again."""
        self.kill()
        if self.bgp:
            self.routing.kill()
        if self.ipsec is not None:
            self.charon.kill()
        self.delete_tunnel()
        self.namespace.ip("xfrm state flush", "xfrm policy flush")

    def power_on(self) -> None:
        """Makes the tunnel and starts everything."""
        self.make_tunnel()
        self.start()

    def _build(self) -> None:
        if self._built:
            return
        self.namespace.bind(self.lab.resolver.resolv_conf, Path("/etc/resolv.conf"))
        self.namespace.run("sysctl", "--quiet", "--load", SAMPLES / "sysctl.d-nhrpd.conf")
        if self.ipsec is not None:
            self.charon = Charon(
                namespace=self.namespace,
                name=self.name,
                sample=f"swanctl-{self.role.value}.conf",
                identity=self.identity,
                directory=self.directory,
                ipsec=self.ipsec,
            )
        if self.bgp:
            self.routing = Routing(
                namespace=self.namespace, name=self.name, directory=self.directory
            )
        self._built = True

    def frr_conf(self) -> str:
        """Returns frr.conf."""
        if self.role is Role.HUB:
            return hub_configuration(self.tunnel, [spoke.tunnel for spoke in self.lab.spokes])
        return spoke_configuration(
            self.tunnel, self.lan_prefix, [hub.tunnel for hub in self.lab.hubs]
        )
