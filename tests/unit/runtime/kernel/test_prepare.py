"""The requests that prepare a link and those that ask for dumps, octet by octet."""

import socket
import sys

import pytest

from nhrpd_py.runtime.netlink import rtnl

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="written down on such a machine")

PROBES = """
    2400 0680
        0800 0100 05000000
        0800 0900 01000000
        0800 0a00 00000000
        0800 0b00 00000000
"""


def test_clearing_noarp_touches_one_flag_and_no_attribute():
    assert rtnl.clear_noarp(5) == bytes.fromhex("00 00 0000 05000000 00000000 80000000")


def test_one_setting_of_the_link_is_sent():
    head = "00 00 0000 05000000 00000000 00000000"
    setting = "1400 1a80 1000 0280 0c00 0180 0800 0600 00000000"
    assert rtnl.stop_redirects(5) == bytes.fromhex(head + setting)


@pytest.mark.parametrize(
    ("family", "table"),
    [
        (socket.AF_INET, "02 000000 0e00 0100" + b"arp_cache\0".hex() + "0000"),
        (socket.AF_INET6, "0a 000000 1000 0100" + b"ndisc_cache\0".hex()),
    ],
)
def test_probes_go_to_us_alone(family, table):
    assert rtnl.solicit_to_us(family, 5) == bytes.fromhex(table + PROBES)


def test_dumps_are_of_all_families():
    assert not any(rtnl.DUMP_LINKS + rtnl.DUMP_ADDRESSES + rtnl.DUMP_ROUTES)
    assert [len(rtnl.DUMP_LINKS), len(rtnl.DUMP_ADDRESSES), len(rtnl.DUMP_ROUTES)] == [16, 8, 12]
