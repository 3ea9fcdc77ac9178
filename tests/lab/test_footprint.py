"""What the daemon holds while it has nothing to do."""

import time

from tools.lab.nodes import NhrpdNode, dmvpn
from tools.lab.topology import Lab

LIMIT_BYTES = 52 << 20
REST_S = 2.0


def test_a_daemon_at_rest_is_small() -> None:
    with Lab() as lab:
        dmvpn(lab, hub=NhrpdNode, spokes=())
        (hub,) = lab.nodes
        assert isinstance(hub, NhrpdNode)
        assert hub.show("interfaces")
        time.sleep(REST_S)
        assert hub.resident_bytes() <= LIMIT_BYTES
