"""The cloud with one pre-shared key in place of certificates, and the guide's rule for iptables."""

import pytest

from tests.lab.clouds import (
    GRE_AND_ESP,
    cloud,
    in_clear,
    make_shortcuts,
    peer,
    straight,
    wait_ready,
)
from tools.lab.charon import Ipsec

pytestmark = pytest.mark.timeout(400)

SECRET = "a secret of all nodes"


def test_a_cloud_with_a_pre_shared_key() -> None:
    with cloud(
        {}, {}, {}, ipsec=Ipsec(psk=SECRET), static=True, bgp=False, firewall_sample=True
    ) as (
        _,
        nodes,
    ):
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
        assert (shown["ipsec"], shown["identity"]) == ("up", two.identity)
        for node in nodes:
            assert not node.logged(SECRET)
            for view in ("peers", "config", "sas"):
                assert SECRET not in node.run_ctl("show", view).stdout
