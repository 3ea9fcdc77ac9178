"""Two machines that are one by mistake: one certificate, or one tunnel address, on both."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.lab.expect import row, wait_registered
from tools.lab.classic import ClassicNode
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode, dmvpn
from tools.lab.resolver import DOMAIN
from tools.lab.topology import Lab

HOLDING_TIME_S = 60
IN_TURN_S = 120.0


@dataclass(slots=True, eq=False, kw_only=True)
class TwinNode(ClassicNode):
    """A spoke with the name and the certificate of spoke 2."""

    @property
    def identity(self) -> str:
        return f"spoke2.{DOMAIN}"


@contextmanager
def twins() -> Iterator[tuple[ClassicNode, ClassicNode, ClassicNode]]:
    """A hub, its spoke 2, and spoke 3 with the certificate of spoke 2."""
    with Lab(private_run=True, static=True) as lab:
        hub = lab.add(
            ClassicNode(number=1, role=Role.HUB, bgp=False, holding_time_s=HOLDING_TIME_S)
        )
        one, two = (
            lab.add(kind(number=n, role=Role.SPOKE, bgp=False, holding_time_s=HOLDING_TIME_S))
            for n, kind in ((2, ClassicNode), (3, TwinNode))
        )
        for node in (hub, one, two):
            node.start()
        yield hub, one, two


def problem(node: NhrpdNode, kind: str) -> dict[str, object] | None:
    return row(node, "problems", kind=kind)


@pytest.mark.timeout(300)
def test_one_certificate_on_two_machines_is_told_with_both_places() -> None:
    """The sample has `unique = replace`: each ends the other's SA at the hub."""
    with twins() as (hub, one, two):
        found = wait_until(lambda: problem(hub, "identity-in-turn"), IN_TURN_S, "the hub tells it")
        said = f"{one.identity} is used by {one.nbma} and {two.nbma} in turn"
        assert said in str(found["reason"])
        wait_until(
            lambda: any(said in str(each["last_error"]) for each in hub.show("peers")),
            30.0,
            "show peers has it",
        )
        assert hub.logged("claim.contested")


@pytest.mark.timeout(180)
def test_one_tunnel_address_on_two_machines_is_told_with_both_places() -> None:
    with Lab(sample_rate="60/minute") as lab:
        dmvpn(lab, hub=NhrpdNode, spokes=(NhrpdNode, NhrpdNode), holding_time_s=HOLDING_TIME_S)
        hub, one, two = lab.nodes
        assert isinstance(hub, NhrpdNode)
        wait_registered(lab)
        two.namespace.ip(
            f"address add {one.tunnel}/32 dev gre1", f"address del {two.tunnel}/32 dev gre1"
        )
        found = wait_until(lambda: problem(hub, "address-in-turn"), IN_TURN_S, "the hub tells it")
        said = f"{one.tunnel} is claimed by {one.nbma} and {two.nbma} in turn"
        assert said in str(found["reason"])
        cached = row(hub, "cache", protocol=one.tunnel)
        assert cached is not None
        assert said in str(cached["problem"])
        assert hub.logged("claim.contested")
