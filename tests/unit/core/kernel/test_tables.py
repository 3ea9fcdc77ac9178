"""The kernel's tables: which addresses are this machine's."""

from nhrpd_py.core.kernel.tables import KernelTables

ADDRESS = bytes((192, 0, 2, 1))


def test_address_is_local_until_the_last_link_that_has_it_loses_it() -> None:
    tables = KernelTables()
    tables.add_local(ADDRESS)
    tables.add_local(ADDRESS)
    tables.remove_local(ADDRESS)
    assert tables.is_local(ADDRESS)
    tables.remove_local(ADDRESS)
    assert not tables.is_local(ADDRESS)


def test_losing_an_address_that_nobody_has_is_harmless() -> None:
    tables = KernelTables()
    tables.remove_local(ADDRESS)
    assert not tables.is_local(ADDRESS)
