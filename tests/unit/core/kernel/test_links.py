"""The links of this machine."""

from nhrpd_py.core.kernel.links import Links
from tests.support.sites import UNDERLAY, a_link, an_address, nbma


def test_the_link_that_holds_an_address_is_found_by_it() -> None:
    links = Links()
    links.change(a_link(7, "lan0"))
    links.change(a_link(UNDERLAY, "eth0"))
    address = an_address(UNDERLAY, nbma(1), 24)
    links.by_ifindex[UNDERLAY].addresses[address.address, 24] = address
    assert links.holder(nbma(1)) == "eth0"
    assert links.holder(nbma(2)) is None


def test_a_link_that_was_renamed_is_known_by_its_new_name_only() -> None:
    links = Links()
    links.change(a_link(7, "lan0"))
    links.change(a_link(7, "lan1"))
    assert links.named("lan0") is None
    assert links.named("lan1") is links.by_ifindex[7]


def test_a_name_belongs_to_the_link_that_took_it_last() -> None:
    links = Links()
    links.change(a_link(7, "lan0"))
    links.change(a_link(8, "lan0"))
    links.remove(7)
    assert links.named("lan0") is links.by_ifindex[8]
