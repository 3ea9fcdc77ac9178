"""What an operator is told about the settings of multicast."""

import pytest

from nhrpd_py.config.load import parse
from nhrpd_py.core.config import Config
from tests.support.sites import ip
from tests.unit.config.files import GRE, complaints

WITH_NHS = "[[interface.gre1.nhs]]\nprotocol = 'dynamic'\nnbma = '192.0.2.1'\n"


def test_targets_rate_and_group_become_the_configuration() -> None:
    config = parse(
        GRE
        + "multicast = ['dynamic', 'nhs', '192.0.2.9']\nmulticast-rate = 50\n"
        + WITH_NHS
        + "[nflog]\nmulticast-group = 20\n",
        "f",
    )
    gre = config.interfaces["gre1"]
    assert gre.multicast == ("dynamic", "nhs", ip("192.0.2.9"))
    assert gre.multicast_rate == 50
    assert (config.nflog.redirect_group, config.nflog.multicast_group) == (1, 20)


def test_nobody_gets_copies_by_default() -> None:
    config = parse(GRE, "f")
    assert config.interfaces["gre1"].multicast == ()
    assert config.interfaces["gre1"].multicast_rate == 1000
    assert config.nflog.multicast_group == Config().nflog.multicast_group == 2


def test_servers_may_be_targets_before_there_are_any() -> None:
    config = parse(GRE + "multicast = ['dynamic', 'nhs']\n", "f")
    assert config.interfaces["gre1"].multicast == ("dynamic", "nhs")


def test_the_groups_may_be_the_same_where_nobody_uses_multicast() -> None:
    assert parse(GRE + "[nflog]\nredirect-group = 2\n", "f").nflog.redirect_group == 2


STATION = "cannot be the address of one station of the network"
UNDERLAY = "a tunnel has one underlay"
ADDRESSES = 'a target is "dynamic", "nhs" or an NBMA address'
BOTH = "is the group of redirects and of multicast, which interface.gre1 uses: each needs its own"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "multicast = ['spokes']",
            f"interface.gre1.multicast[0]: 'spokes' is not an IPv4 or IPv6 address; {ADDRESSES}",
        ),
        (
            "multicast = ['dynamic', '224.0.0.5']",
            f"interface.gre1.multicast[1]: '224.0.0.5' {STATION}; {ADDRESSES}",
        ),
        ("multicast = [3]", "interface.gre1.multicast[0]: must be a string, not 3"),
        (
            "multicast = 'dynamic'",
            "interface.gre1.multicast: must be an array such as [\"dynamic\"], not 'dynamic'",
        ),
        (
            "multicast = ['192.0.2.9', 'dynamic', '192.0.2.9']",
            "interface.gre1.multicast[2]: is the same target as multicast[0]",
        ),
        (
            "multicast = ['192.0.2.9', '2001:db8::9']",
            f"interface.gre1.multicast[1]: is IPv6, but multicast[0] is IPv4: {UNDERLAY}",
        ),
        (
            "multicast = ['2001:db8::9']\n" + WITH_NHS,
            f"interface.gre1.multicast[0]: is IPv6, but nhs[0].nbma is IPv4: {UNDERLAY}",
        ),
        (
            "multicast-rate = 10",
            "interface.gre1.multicast-rate: needs multicast: without targets nothing is replicated",
        ),
        (
            "multicast = ['dynamic']\nmulticast-rate = 0",
            "interface.gre1.multicast-rate: must be 1..1000000, not 0",
        ),
        (
            "multicast = ['dynamic']\n[nflog]\nmulticast-group = 1",
            f"nflog.multicast-group: {BOTH}",
        ),
        ("multicast = ['dynamic']\n[nflog]\nredirect-group = 2", f"nflog.redirect-group: {BOTH}"),
        ("[nflog]\nmulticast-group = 0", "nflog.multicast-group: must be 1..65535, not 0"),
    ],
)
def test_each_mistake_is_named_with_its_path(text: str, complaint: str) -> None:
    assert complaints(GRE + text) == [f"f: {complaint}"]
