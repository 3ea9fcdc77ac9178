"""A machine of the lab as its cables see it: number, place, addresses and namespaces."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from tools.lab.namespace import Namespace


class Role(enum.Enum):
    """What a node is to the others."""

    HUB = "hub"
    SPOKE = "spoke"


class Nat(enum.Enum):
    """What stands between a node and the Internet."""

    NONE = "none"
    MASQUERADE = "masquerade"
    """Lets in only what answers."""
    STATIC = "static"
    """Also forwards GRE, ESP and IKE that nobody asked for."""


@dataclass(slots=True, eq=False, kw_only=True)
class Machine:
    """A router with a LAN behind it; its number gives it its addresses."""

    number: int
    role: Role
    nat: Nat = Nat.NONE
    nat_of: int | None = None
    """The number of an earlier machine whose router masquerades this one too."""
    namespace: Namespace = field(init=False)
    lan: Namespace = field(init=False)
    """The host on the LAN."""

    @property
    def name(self) -> str:
        """Returns the name of the node and of its namespace."""
        return f"{self.role.value}{self.number}"

    @property
    def nbma(self) -> str:
        """Returns the address that others see; behind NAT it is the router's."""
        return f"192.0.2.{self.nat_of or self.number}"

    @property
    def underlay(self) -> str:
        """Returns the address of `eth0` that the node starts with."""
        return self.nbma if self.nat is Nat.NONE else f"10.9.{self.number}.2"

    @property
    def tunnel(self) -> str:
        """Returns the tunnel address."""
        return f"10.255.255.{self.number}"

    @property
    def tunnel6(self) -> str:
        """Returns the IPv6 tunnel address."""
        return f"fd00:ff::{self.number:x}"

    @property
    def lan_prefix(self) -> str:
        """Returns the network behind the node."""
        return f"172.16.{self.number}.0/24"

    @property
    def lan_host(self) -> str:
        """Returns the address of the host behind the node."""
        return f"172.16.{self.number}.10"

    @property
    def lan_host6(self) -> str:
        """Returns the IPv6 address of the host behind the node."""
        return f"fd00:{self.number:x}::10"

    @property
    def lan_prefix6(self) -> str:
        """Returns the IPv6 network behind the node."""
        return f"fd00:{self.number:x}::/64"
