"""Configurations of other systems, imported and run: as spokes of FRR's hub, and as the hub of FRR's spokes.

The other systems themselves are not here: what runs is nhrpd, by files that `nhrpctl import` made of texts that
those systems would have for this node. Where such a text makes the netdev, the commands that came of it do.
"""

import io
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

import pytest

from nhrpd_py.cli.importing.hand_over import Imported, hand_over
from tests.lab.expect import wait_direct, wait_registered
from tools.lab.kernel import iptables, iptables_restore
from tools.lab.machine import Role
from tools.lab.nodes import FrrNode, NhrpdNode
from tools.lab.topology import Lab
from tools.lab.wiring import GRE_KEY, TUNNEL

SPOKES = {
    "frr": """frr version 8.4
interface gre1
 ip nhrp holdtime 30
 ip nhrp network-id 1
 ip nhrp nhs dynamic nbma {hub_nbma}
 ip nhrp registration no-unique
 ip nhrp shortcut
 tunnel source eth0
exit
""",
    "quagga": """! quagga
interface gre1
 tunnel source eth0
 ip nhrp network-id 1
 ip nhrp holdtime 30
 ip nhrp shortcut
 ip nhrp nhs {hub_tunnel} nbma {hub_nbma}
""",
    "opennhrp": """interface gre1
  holding-time 30
  map {hub_tunnel}/24 {hub_nbma} register
  shortcut
interface lan0
  shortcut-destination
""",
    "vyos": """set interfaces tunnel tun7 address '{tunnel}/32'
set interfaces tunnel tun7 encapsulation 'gre'
set interfaces tunnel tun7 source-address '{nbma}'
set interfaces tunnel tun7 parameters ip key '{key}'
set protocols nhrp tunnel tun7 network-id '1'
set protocols nhrp tunnel tun7 holdtime '30'
set protocols nhrp tunnel tun7 nhs tunnel-ip dynamic nbma '{hub_nbma}'
set protocols nhrp tunnel tun7 shortcut
""",
    "ios": """hostname spoke
interface Tunnel7
 ip address {tunnel} 255.255.255.255
 ip nhrp map {hub_tunnel} {hub_nbma}
 ip nhrp map multicast {hub_nbma}
 ip nhrp network-id 1
 ip nhrp holdtime 30
 ip nhrp nhs {hub_tunnel}
 ip nhrp shortcut
 tunnel source GigabitEthernet0/0
 tunnel mode gre multipoint
 tunnel key {key}
!
interface GigabitEthernet0/0
 ip address {nbma} 255.255.255.0
""",
}
HUBS = {
    "frr": """frr version 8.4
nhrp nflog-group 1
interface gre1
 ip nhrp holdtime 30
 ip nhrp network-id 1
 ip nhrp redirect
 ip nhrp shortcut
 tunnel source eth0
exit
""",
    "quagga": """! quagga
nhrp nflog-group 1
interface gre1
 tunnel source eth0
 ip nhrp network-id 1
 ip nhrp holdtime 30
 ip nhrp redirect
 ip nhrp shortcut
""",
    "opennhrp": """interface gre1
  holding-time 30
  redirect
  non-caching
interface lan0
  shortcut-destination
""",
    "vyos": """set interfaces tunnel tun7 address '{tunnel}/32'
set interfaces tunnel tun7 encapsulation 'gre'
set interfaces tunnel tun7 source-interface 'eth0'
set interfaces tunnel tun7 parameters ip key '{key}'
set protocols nhrp tunnel tun7 holding-time '30'
set protocols nhrp tunnel tun7 multicast 'dynamic'
set protocols nhrp tunnel tun7 redirect
set protocols nhrp tunnel tun7 shortcut
""",
    "ios": """hostname hub
interface Tunnel7
 ip address {tunnel} 255.255.255.255
 ip nhrp map multicast dynamic
 ip nhrp network-id 1
 ip nhrp holdtime 30
 ip nhrp redirect
 tunnel source {nbma}
 tunnel mode gre multipoint
 tunnel key {key}
!
""",
}
NETDEVS = {"vyos": "tun7", "ios": "tunnel7"}
"""What the netdev is called by import; in the lab it has its one name."""


@dataclass(slots=True, eq=False, kw_only=True)
class ImportedNode(NhrpdNode):
    """A node whose configuration was another system's."""

    SYSTEM: ClassVar[str]
    HOST_ADDRESS_ONLY: ClassVar[bool] = True

    def imported(self) -> Imported:
        """Imports what the other system would have here."""
        texts = HUBS if self.role is Role.HUB else SPOKES
        hub = self.lab.hubs[0]
        text = texts[self.SYSTEM].format(
            nbma=self.nbma,
            tunnel=self.tunnel,
            key=GRE_KEY,
            hub_nbma=hub.nbma,
            hub_tunnel=hub.tunnel,
        )
        return hand_over(["-"], None, "ip", io.BytesIO(text.encode()))

    def made(self, name: str) -> str:
        """Returns a file that import made, with the lab's name for the netdev."""
        own = NETDEVS.get(self.SYSTEM, TUNNEL)
        (text,) = (
            output.text for output in self.imported().outputs if output.name == name.format(own)
        )
        return text.replace(own, TUNNEL)

    def configuration(self) -> str:
        """Returns nhrpd.toml."""
        lines = [
            "[daemon]",
            f'control-socket = "{self.socket_path}"',
            f'state-directory = "{self.directory}"',
            f'log-level = "{self.log_level}"',
        ]
        return "\n".join(lines) + "\n" + self.made("nhrpd.toml")

    def make_tunnel(self) -> None:
        """Makes the netdev by the commands that import made, where it made some."""
        if self.SYSTEM not in NETDEVS:
            NhrpdNode.make_tunnel(self)
            return
        self.namespace.run("sh", "-e", "-c", self.made("tunnel-{}.sh"))
        self.namespace.ip(*self._up_commands())


def of(system: str) -> type[ImportedNode]:
    return dataclass(slots=True, eq=False, kw_only=True)(
        type(f"{system.title()}Node", (ImportedNode,), {"SYSTEM": system, "__annotations__": {}})
    )


def test_spokes_of_all_systems_at_frrs_hub() -> None:
    """Each registers; each pair of neighbours in the list finds its direct way."""
    with Lab(sample_rate="60/minute") as lab:
        lab.add(FrrNode(number=1, role=Role.HUB, holding_time_s=30))
        spokes = [
            lab.add(of(system)(number=number, role=Role.SPOKE))
            for number, system in enumerate(SPOKES, start=2)
        ]
        lab.start()
        wait_registered(lab)
        for one, two in pairwise(spokes):
            seconds = wait_direct(one, two)
            print(f"import: {one.SYSTEM} and {two.SYSTEM} directly after {seconds:.2f} s")
            assert one.ping_lan(two, count=5, interval_s=0.05).lost == 0


@pytest.mark.parametrize("system", list(HUBS))
def test_a_hub_of_each_system_with_frrs_spokes(system: str) -> None:
    """FRR's spokes register with it, hear its redirects, and go directly. It samples by its own rule."""
    with Lab() as lab:
        hub = lab.add(of(system)(number=1, role=Role.HUB))
        iptables(hub.namespace, "-F FORWARD")
        rules = hub.directory / "iptables.rules"
        rules.write_text(hub.made("iptables.rules"))
        iptables_restore(hub.namespace, rules)
        add = partial(FrrNode, role=Role.SPOKE, holding_time_s=30)
        one, two = lab.add(add(number=2)), lab.add(add(number=3))
        lab.start()
        wait_registered(lab)
        wait_direct(one, two, 60.0)  # 4 samples a minute for all sites of the lab
        assert one.ping_lan(two, count=5, interval_s=0.05).lost == 0
