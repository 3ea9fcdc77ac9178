"""The machines that are fuzzed: hubs and spokes, plain, signed, protected, with rules, with two tunnels, of both
families. Each comes with the configurations that a reload may bring it, and with the tables that can be made small.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from nhrpd_py.core.address import Prefix, parse_prefix
from nhrpd_py.core.base import limits
from nhrpd_py.core.config import Config, InterfaceConfig
from nhrpd_py.core.events import Event, GreParameters, IpsecReady, LinkChanged, RouteAdded
from nhrpd_py.core.ipsec import circuits
from nhrpd_py.core.purge import sender
from nhrpd_py.core.resolution import failure, gate, responder, table, wishes
from nhrpd_py.core.station import cache, paths, shortcuts
from tests.fuzz.grammar import World
from tests.support.ipsec import IPSEC, POLICY
from tests.support.sites import (
    GRE,
    SECRET,
    UNDERLAY,
    a_map,
    a_route,
    an_address,
    an_interface,
    an_nhs,
    links_of,
)

SECOND = 5
"""The ifindex of the second tunnel."""
SMALL_TABLES: tuple[tuple[ModuleType, str, int], ...] = (
    (cache, "MAX_BINDINGS", 12),
    (cache, "MAX_BINDINGS_PER_SENDER", 5),
    (cache, "KEPT_SHARE", 4),
    (cache, "MAX_CACHED", 8),
    (shortcuts, "MAX_SHORTCUTS", 8),
    (table, "MAX_RESOLUTIONS", 8),
    (responder, "MAX_ANSWERS", 8),
    (sender, "MAX_PURGES", 8),
    (paths, "MAX_PATHS", 8),
    (gate, "MAX_WAITING", 4),
    (failure, "MAX_REFUSALS", 8),
    (wishes, "MAX_WISHES", 4),
    (wishes, "MAX_WISHES_PER_NETWORK", 2),
    (circuits, "MAX_FAILURES", 8),
    (circuits, "MAX_HOLDING_PEERS", 2),
    (limits, "MAX_PEERS", 8),
    (limits, "MAX_REDIRECT_PAIRS", 8),
)


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of machine."""

    name: str
    site: int
    settings: dict[str, Any] = field(default_factory=dict)
    """Of its tunnel, beside those of a hub or a spoke."""
    ipv6_overlay: bool = False
    ipv6_underlay: bool = False
    two_tunnels: bool = False
    subnet: bool = False
    """The tunnel address has the cloud's prefix length, not a host's."""

    @property
    def is_hub(self) -> bool:
        return self.site == 1

    @property
    def is_protected(self) -> bool:
        return "ipsec" in self.settings

    @property
    def is_signed(self) -> bool:
        return "authentication" in self.settings

    def world(self) -> World:
        """Returns the addresses around it."""
        return World(self.site, ipv6_overlay=self.ipv6_overlay, ipv6_underlay=self.ipv6_underlay)

    def config(self, **changes: Any) -> Config:
        """Returns its configuration, with some settings changed."""
        world = self.world()
        if self.is_hub:
            usual: dict[str, Any] = {"redirect": True, "shortcut": True}
        else:
            usual = {"shortcut": True, "nhs": (an_nhs(world.hub),)}
        first = an_interface(**{**usual, **self.settings, **changes})
        interfaces = {first.name: first}
        if self.two_tunnels:
            interfaces["gre2"] = self._second(first)
        return Config(interfaces=interfaces)

    def reloads(self) -> list[Config]:
        """Returns the configurations that a reload may bring; the usual one is the most frequent."""
        world = self.world()
        far = world.sites[6]
        usual = self.config()
        changes: list[dict[str, Any]] = [
            {"shortcut": False},
            {"redirect": self.site != 1},
            {"path_check_s": 3},
            {"path_check_s": None},
            {"unique": True},
            {"holding_time_s": 600},
            {"maps": (a_map(far.tunnel, far.nbma),)},
            {"nhs": (an_nhs(world.sites[3], world.sites[3].tunnel),)},
            {"nhs": (an_nhs("hub.example"), an_nhs(world.hub, priority=7, cluster=1))},
            {"nhs": ()},
            {"overlay": (_tunnels(ipv6=self.ipv6_overlay),)},
            {"network_id": 77},
        ]
        if self.is_protected:
            changes += [{"authorize": POLICY}, {"ipsec": replace(IPSEC, profile="other")}]
        others = [self.config(**each) for each in changes]
        return [usual] * len(others) + others + [Config(interfaces={})]

    def events(self) -> list[Event]:
        """Returns what the kernel reports at start."""
        world = self.world()
        length = None
        if self.subnet:
            length = _tunnels(ipv6=self.ipv6_overlay).length
        events = links_of(world.own, tunnel_length=length)
        if self.two_tunnels:
            gre = GreParameters(key=43, ttl=64, link=UNDERLAY, ipv6=self.ipv6_underlay)
            events += [
                LinkChanged(ifindex=SECOND, name="gre2", up=True, mtu=1472, gre=gre),
                an_address(SECOND, second_address(world), len(world.own.tunnel) * 8),
            ]
        if self.is_hub:
            routes = [a_route(each.lan, GRE, each.tunnel) for each in world.others[:6]]
        else:
            routes = [
                a_route(each, GRE, world.hub.tunnel)
                for each in (*world.prefixes[-3:-1], _tunnels(ipv6=self.ipv6_overlay))
            ]
        events += map(RouteAdded, routes)
        if self.is_protected:
            events.append(IpsecReady("6.0.1", patched=False))
        return events

    def _second(self, first: InterfaceConfig) -> InterfaceConfig:
        return replace(first, name="gre2", maps=())


def second_address(world: World) -> bytes:
    """Returns the address of our second tunnel."""
    return world.own.tunnel[:-1] + bytes([100 + world.own.number])


def _tunnels(*, ipv6: bool) -> Prefix:
    return parse_prefix("fd00:ff::/64" if ipv6 else "10.255.255.0/24")


def _signed() -> dict[str, Any]:
    return {"authentication": SECRET}


RULES: dict[str, Any] = {"ipsec": IPSEC, "authorize": POLICY}
ROLES = (
    Role("hub", 1),
    Role("spoke", 2),
    Role("hub, signed", 1, _signed(), subnet=True),
    Role("spoke, signed, unique", 2, {**_signed(), "unique": True}),
    Role("hub, IPsec", 1, {"ipsec": IPSEC, "path_check_s": 3}),
    Role("spoke, IPsec", 2, {"ipsec": IPSEC}),
    Role("hub, rules", 1, RULES),
    Role("spoke, rules, paths", 2, {**RULES, "path_check_s": 3}),
    Role("hub, two tunnels", 1, two_tunnels=True),
    Role("spoke, two tunnels, paths", 2, {"path_check_s": 3}, two_tunnels=True, subnet=True),
    Role("spoke, paths", 2, {"path_check_s": 1}, subnet=True),
    Role("hub, IPv6 over IPv4", 1, ipv6_overlay=True),
    Role("spoke, IPv6 over IPv6, IPsec", 2, {"ipsec": IPSEC, "path_check_s": 3}, True, True),
    Role("spoke, IPv4 over IPv6, paths", 2, {"path_check_s": 3}, ipv6_underlay=True),
    Role("hub, two tunnels, IPsec", 1, {"ipsec": IPSEC}, two_tunnels=True),
    Role("spoke, signed, IPsec, paths", 2, {**_signed(), "ipsec": IPSEC, "path_check_s": 3}),
)


@contextmanager
def small_tables(rng: random.Random, *, wanted: bool) -> Iterator[None]:
    """Makes the tables small, most of them, while it is entered."""
    before = [(module, name, getattr(module, name)) for module, name, _ in SMALL_TABLES]
    try:
        if wanted:
            for module, name, size in SMALL_TABLES:
                if rng.random() < 0.8:
                    setattr(module, name, size)
        yield
    finally:
        for module, name, size in before:
            setattr(module, name, size)
