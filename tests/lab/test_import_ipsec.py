"""IPsec as import makes it: VyOS's profile on a hub and Cisco's on its spokes, with one pre-shared key.

charon loads the connections and secrets that were made, and nhrpd takes them for profiles.
"""

import io
from dataclasses import dataclass
from typing import ClassVar

import pytest

from nhrpd_py.cli.importing.hand_over import hand_over
from tests.lab.clouds import GRE_AND_ESP, in_clear, make_shortcuts, peer, straight, wait_ready
from tools.lab.charon import Ipsec
from tools.lab.classic import ClassicNode
from tools.lab.machine import Role
from tools.lab.nodes import NhrpdNode
from tools.lab.topology import Lab
from tools.lab.wiring import TUNNEL

pytestmark = pytest.mark.timeout(400)

SECRET = "0xSecretOfAllNodes"
"""A router's key has no blanks; that it looks like hexadecimal is no matter."""
HUB = """set interfaces tunnel tun7 encapsulation 'gre'
set interfaces tunnel tun7 source-interface 'eth0'
set protocols nhrp tunnel tun7 network-id '1'
set protocols nhrp tunnel tun7 holdtime '60'
set protocols nhrp tunnel tun7 redirect
set protocols nhrp tunnel tun7 shortcut
set vpn ipsec esp-group E lifetime '1800'
set vpn ipsec esp-group E pfs 'dh-group14'
set vpn ipsec esp-group E proposal 1 encryption 'aes256'
set vpn ipsec esp-group E proposal 1 hash 'sha256'
set vpn ipsec ike-group I key-exchange '{version}'
set vpn ipsec ike-group I proposal 1 dh-group '14'
set vpn ipsec ike-group I proposal 1 encryption 'aes256'
set vpn ipsec ike-group I proposal 1 hash 'sha256'
set vpn ipsec profile P authentication mode 'pre-shared-secret'
set vpn ipsec profile P authentication pre-shared-secret '{secret}'
set vpn ipsec profile P bind tunnel 'tun7'
set vpn ipsec profile P esp-group 'E'
set vpn ipsec profile P ike-group 'I'
"""
IKE = {
    "ikev1": """crypto isakmp policy 10
 encr aes 256
 hash sha256
 authentication pre-share
 group 14
crypto isakmp key {secret} address 0.0.0.0
crypto ipsec profile DMVPN
 set transform-set TS
 set pfs group14
""",
    "ikev2": """crypto ikev2 proposal P
 encryption aes-cbc-256
 integrity sha256
 group 14
crypto ikev2 keyring K
 peer ANY
  address 0.0.0.0 0.0.0.0
  pre-shared-key {secret}
crypto ikev2 profile PROF
 match identity remote address 0.0.0.0
 authentication local pre-share
 authentication remote pre-share
 keyring local K
crypto ipsec profile DMVPN
 set transform-set TS
 set pfs group14
 set ikev2-profile PROF
""",
}
SPOKE = """crypto ipsec transform-set TS esp-aes 256 esp-sha256-hmac
 mode transport
interface Tunnel7
 ip nhrp map {hub_tunnel} {hub_nbma}
 ip nhrp network-id 1
 ip nhrp holdtime 60
 ip nhrp nhs {hub_tunnel}
 ip nhrp shortcut
 ip nhrp registration no-unique
 tunnel source {nbma}
 tunnel mode gre multipoint
 tunnel protection ipsec profile DMVPN
"""


@dataclass(slots=True, eq=False, kw_only=True)
class ImportedProtectedNode(ClassicNode):
    """A hub that was VyOS's or a spoke that was Cisco's, with all that import made of its IPsec."""

    version: str
    NETDEVS: ClassVar[dict[Role, str]] = {Role.HUB: "tun7", Role.SPOKE: "tunnel7"}

    def made(self, name: str) -> str:
        text = HUB if self.role is Role.HUB else IKE[self.version] + SPOKE
        hub = self.lab.hubs[0]
        text = text.format(
            nbma=self.nbma,
            hub_nbma=hub.nbma,
            hub_tunnel=hub.tunnel,
            version=self.version,
            secret=SECRET,
        )
        done = hand_over(["-"], None, "ip", io.BytesIO(text.encode()))
        (made,) = (output.text for output in done.outputs if output.name == name)
        return made.replace(self.NETDEVS[self.role], TUNNEL)

    def configuration(self) -> str:
        """Returns nhrpd.toml."""
        lines = [
            "[daemon]",
            f'control-socket = "{self.socket_path}"',
            f'state-directory = "{self.directory}"',
            f'log-level = "{self.log_level}"',
        ]
        return "\n".join(lines) + "\n" + self.made("nhrpd.toml")

    def start(self) -> None:
        """See `Node.start`. charon gets what was made in place of the sample."""
        self.start_services()
        self.charon.swanctl_conf.write_text(self.made("swanctl.conf"))
        self.charon.load_all()
        NhrpdNode.start(self)


@pytest.mark.parametrize("version", list(IKE))
def test_a_cloud_of_vyos_and_cisco_goes_on_with_its_key(version: str) -> None:
    with Lab(private_run=True, sample_rate="60/minute") as lab:
        nodes: list[ClassicNode] = [
            lab.add(
                ImportedProtectedNode(
                    number=number,
                    role=Role.HUB if number == 1 else Role.SPOKE,
                    version=version,
                    ipsec=Ipsec(psk="replaced"),
                    bgp=False,
                )
            )
            for number in (1, 2, 3)
        ]
        lab.start()
        _, one, two = nodes
        wait_ready(nodes)
        with one.capture(expression=GRE_AND_ESP) as wire:
            make_shortcuts(one, two, 120.0)
            assert one.ping_lan(two, count=5).lost == 0
        packets = wire.packets()
        assert straight(packets, one, two)
        assert in_clear(packets) == []
        shown = peer(one, two)
        assert shown is not None
        assert shown["ipsec"] == "up"
        for node in nodes:
            assert not node.logged(SECRET)
