"""The networks that most tests use: a hub, and spokes that route everything by way of it."""

from collections.abc import Iterable
from typing import Unpack

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import Route
from tests.support.ipsec import IPSEC
from tests.support.network import Network, Weather
from tests.support.sites import (
    HUB,
    InterfaceSettings,
    Site,
    a_config,
    a_route,
    a_site,
    an_nhs,
)
from tests.support.station import Station

FAIR = Weather(delay_s=0.02)
STORM = Weather(loss=0.2, duplication=0.1, delay_s=0.02, jitter_s=0.5)
HUB_NAME = "hub.example.net"
OVERLAY = "172.16.0.0/12"
TUNNELS = "10.255.255.0/24"


def by_way_of(
    hub: Site = HUB, overlay: str = OVERLAY, tunnels: str = TUNNELS, metric: int = 0
) -> list[Route]:
    """Returns the summary routes of a spoke."""
    return [a_route(each, via=hub.tunnel, metric=metric) for each in (overlay, tunnels)]


def to_lans_of(*sites: Site) -> list[Route]:
    """Returns the routes of a hub."""
    return [a_route(each.lan, via=each.tunnel) for each in sites]


def add_hub(
    network: Network,
    *spokes: Site,
    name: str = "hub",
    site: Site = HUB,
    **settings: Unpack[InterfaceSettings],
) -> Station:
    """Adds a hub that redirects, with routes to the LANs of its spokes."""
    settings = {"redirect": True, **settings}
    return network.add(name, site, a_config(**settings), routes=to_lans_of(*spokes))


def add_spoke(
    network: Network,
    name: str,
    site: Site,
    *,
    routes: Iterable[Route] | None = None,
    outside: Address = b"",
    **settings: Unpack[InterfaceSettings],
) -> Station:
    """Adds a spoke with the summary routes by way of the hub."""
    settings = {"nhs": (an_nhs(),), **settings}
    routes = by_way_of() if routes is None else routes
    return network.add(name, site, a_config(**settings), routes=routes, outside=outside)


def a_star(
    spokes: int,
    seed: int,
    *,
    holding_time_s: int = 600,
    ipsec: bool = False,
    path_check_s: int | None = None,
) -> Network:
    """Returns a network of a hub, whose name the spokes look up, and spoke-1 to spoke-N at sites 2 to N + 1."""
    network = Network(seed=seed, ipsec=ipsec, ids_per_boot=1_000_000)
    network.weather = FAIR
    network.names[HUB_NAME] = (HUB.nbma,)
    protection = IPSEC if ipsec else None
    sites = [a_site(number) for number in range(2, spokes + 2)]
    add_hub(
        network,
        *sites,
        holding_time_s=holding_time_s,
        ipsec=protection,
        path_check_s=path_check_s,
    )
    for number, site in enumerate(sites, 1):
        add_spoke(
            network,
            f"spoke-{number}",
            site,
            nhs=(an_nhs(HUB_NAME),),
            holding_time_s=holding_time_s,
            ipsec=protection,
            path_check_s=path_check_s,
        )
    return network


def spokes_of(network: Network) -> list[str]:
    """Returns the names of the spokes."""
    return [name for name in network.stations if name.startswith("spoke")]


def registered(network: Network) -> list[str]:
    """Returns the spokes that are registered with a server which has their present NBMA address."""
    servers = {each.site.nbma: each for each in network.stations.values()}
    return [
        name
        for name in spokes_of(network)
        if any(
            servers[nbma].nbma_of(spoke.site.tunnel) == spoke.outside
            for spoke in [network.stations[name]]
            for nbma in spoke.servers_up
        )
    ]


def wait_until_registered(network: Network, *, bound_s: float) -> float:
    """Runs until all spokes are registered; returns the seconds that it took."""
    began = network.now
    while missing := set(spokes_of(network)) - set(registered(network)):
        assert network.now - began <= bound_s, f"{missing} not registered after {bound_s:g} s"
        network.run(0.5)
    return network.now - began


def goes_direct(network: Network, one: str, other: str, *, bound_s: float = 3.0) -> None:
    """Checks that traffic between two LANs changes to the direct path, and that no packet is lost meanwhile."""
    end = network.now + bound_s
    while (path := network.talk(one, other)) != [one, other]:
        assert path[-1] == other, f"a packet was lost: {path}"
        assert network.now < end, f"the path is still {path}"
        network.run(0.1)


def clear_up(network: Network, *, bound_s: float) -> float:
    """Ends loss and delay; returns the seconds until all spokes are registered."""
    network.weather = FAIR
    return wait_until_registered(network, bound_s=bound_s)


def move(network: Network, name: str) -> None:
    """Gives a station another NBMA address, that of another provider."""
    nbma = b"\x0a\x50" + network.rng.randbytes(2)
    if network.at(nbma) is None:
        network.move(name, nbma)
