"""Who may claim what, by the address blocks (RFC 3779) of the certificates that stock charons were shown."""

import pytest

from tests.lab.clouds import cloud, make_shortcuts, wait_ready
from tools.lab.charon import Ipsec
from tools.lab.namespace import wait_until
from tools.lab.pki import Authority

pytestmark = pytest.mark.timeout(400)


def test_the_address_blocks_of_certificates_are_the_policy() -> None:
    """charon itself refuses traffic selectors without a block, hence the outer addresses among them."""
    own = Authority(
        "CA with blocks", address_blocks=("192.0.2.0/24", "10.0.0.0/8", "172.16.0.0/12")
    )

    def node(number: int) -> dict[str, object]:
        blocks = (f"192.0.2.{number}/32", f"10.255.255.{number}/32", f"172.16.{number}.0/24")
        return {"ipsec": Ipsec(authority=own, address_blocks=blocks)}

    settings = 'authorize = "certificate"\n'
    with cloud(
        *(node(number) for number in (1, 2, 3)),
        static=True,
        bgp=False,
        ipsec_settings=settings,
    ) as (_, nodes):
        hub, one, thief = nodes
        wait_ready(nodes)
        make_shortcuts(one, thief)
        thief.namespace.ip(
            f"address add {one.tunnel}/32 dev gre1", f"address del {thief.tunnel}/32 dev gre1"
        )
        words = f"{thief.identity} is not authorized for {one.tunnel}"
        wait_until(lambda: hub.logged(words), 30.0, "the hub refuses what no block covers")
        assert hub.neighbors()[one.tunnel].nbma == one.nbma
        hub.kill()  # and whoever starts anew beside the same charon knows the certificates again
        hub.start()
        wait_until(lambda: hub.binding(one.tunnel, "dynamic"), 40.0, "the rightful one")
        assert hub.namespace.ping(one.tunnel, count=3, source=hub.tunnel).received
