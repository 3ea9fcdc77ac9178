"""The kernel's tables: which addresses and networks are this machine's."""

from nhrpd_py.core.kernel.tables import KernelTables
from tests.support.sites import GRE, LAN, an_address

ADDRESS = bytes((192, 0, 2, 1))
NEIGHBOR = bytes((192, 0, 2, 9))


def networks(tables: KernelTables) -> list[tuple[str, list[int]]]:
    """The connected networks around a neighbour."""
    return [(str(prefix), list(links)) for prefix, links in tables.connected(NEIGHBOR)]


def test_address_is_local_until_the_last_link_that_has_it_loses_it() -> None:
    tables = KernelTables()
    tables.add_address(an_address(LAN, ADDRESS, 32))
    tables.add_address(an_address(GRE, ADDRESS, 32))
    tables.remove_address(LAN, ADDRESS, 32)
    assert tables.is_local(ADDRESS)
    tables.remove_address(GRE, ADDRESS, 32)
    assert not tables.is_local(ADDRESS)


def test_losing_an_address_that_nobody_has_is_harmless() -> None:
    tables = KernelTables()
    tables.remove_address(LAN, ADDRESS, 24)
    assert not tables.is_local(ADDRESS)


def test_connected_networks_are_those_of_all_links_the_longest_first() -> None:
    tables = KernelTables()
    tables.add_address(an_address(LAN, ADDRESS, 16))
    tables.add_address(an_address(GRE, ADDRESS, 24))
    tables.add_address(an_address(LAN, bytes((192, 0, 2, 2)), 24))
    tables.add_address(an_address(LAN, NEIGHBOR, 32))
    assert networks(tables) == [("192.0.2.0/24", [GRE, LAN]), ("192.0.0.0/16", [LAN])]


def test_a_network_is_connected_until_its_last_address_goes() -> None:
    tables = KernelTables()
    second = bytes((192, 0, 2, 2))
    tables.add_address(an_address(LAN, ADDRESS, 24))
    tables.add_address(an_address(LAN, second, 24))
    tables.remove_address(LAN, ADDRESS, 24)
    assert networks(tables) == [("192.0.2.0/24", [LAN])]
    tables.remove_address(LAN, second, 24)
    assert networks(tables) == []
