"""Spokes whose swanctl.conf names the hub's address alone, as most guides for a single tunnel have it."""

import pytest

from tests.lab.checks import mended
from tests.lab.clouds import cloud, make_shortcuts, wait_ready
from tools.lab.charon import Ipsec

pytestmark = pytest.mark.timeout(240)

NARROW = Ipsec(changes=(("version = 2\n", "version = 2\n        remote_addrs = 192.0.2.1\n"),))


def test_such_a_spoke_answers_other_spokes() -> None:
    """Before, the first IKE between two of them ended with NO_PROPOSAL_CHOSEN, and the second came 30 s later."""
    with cloud({}, {"ipsec": NARROW}, {"ipsec": NARROW}, static=True, bgp=False) as (_, nodes):
        _, one, two = nodes
        wait_ready(nodes)
        make_shortcuts(one, two)
        for spoke in (one, two):
            assert not spoke.logged("sa.failed")
            mended(spoke, "remote_addrs")
