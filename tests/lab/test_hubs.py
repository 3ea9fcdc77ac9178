"""More than one hub: fail-over by priority and back, and hubs that are found by name."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab.expect import row, timed, wait_direct, wait_registered
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode
from tools.lab.topology import Lab
from tools.lab.wiring import TUNNEL

HOLDING_TIME_S = 24
DETECTION_S = HOLDING_TIME_S / 3 * 1.1 + (1 + 2 + 4) * 1.2 + 2
"""Until the renewal, three requests unanswered, and the other hub's answer."""
NAME = "hubs.example.net"


def server(nbma: str, priority: int = 0) -> str:
    return f"""
[[interface.{TUNNEL}.nhs]]
protocol = "dynamic"
nbma = "{nbma}"
priority = {priority}
"""


def is_registered_at(spoke: NhrpdNode, hub: NhrpdNode) -> bool:
    up = row(spoke, "nhs", nbma=hub.nbma, state="up")
    return up is not None and hub.binding(spoke.tunnel, "dynamic") is not None


@pytest.mark.timeout(150)
def test_fail_over_to_the_second_hub_and_back() -> None:
    with Lab(sample_rate="60/minute") as lab:
        first, second = (
            lab.add(NhrpdNode(number=number, role=Role.HUB, holding_time_s=HOLDING_TIME_S))
            for number in (1, 2)
        )
        one, two = (
            lab.add(
                NhrpdNode(
                    number=number,
                    role=Role.SPOKE,
                    holding_time_s=HOLDING_TIME_S,
                    nhs=(),
                    extra=server(first.nbma, 10) + server(second.nbma, 20),
                )
            )
            for number in (3, 4)
        )
        lab.start()
        for spoke in (one, two):
            wait_until(lambda spoke=spoke: is_registered_at(spoke, first), 10.0, "registration")  # type: ignore[misc]
            idle = row(spoke, "nhs", nbma=second.nbma)
            assert idle is not None
            assert (idle["state"], idle["requests_sent"]) == ("standby", 0)
            assert second.binding(spoke.tunnel) is None
        wait_direct(one, two)

        with one.capture() as wire, ThreadPoolExecutor() as pool:
            count = int((DETECTION_S + HOLDING_TIME_S / 2) / 0.1)
            ping = pool.submit(one.ping_lan, two, count=count, interval_s=0.1)
            first.kill()
            seconds = timed(
                lambda: is_registered_at(one, second) and is_registered_at(two, second),
                DETECTION_S,
                "both spokes registered with the second hub",
            )
            print(f"hubs: both spokes registered with the second after {seconds:.2f} s")
            for spoke in (one, two):
                lost = row(spoke, "nhs", nbma=first.nbma)
                assert lost is not None
                assert lost["state"] == "probe"
                assert lost["last_error"]
                assert spoke.neighbors()[second.tunnel].nbma == second.nbma
                assert second.neighbors()[spoke.tunnel].nbma == spoke.nbma
                # A routing protocol would lose its neighbour behind the first hub.
                spoke.namespace.ip(
                    f"route delete 10.255.255.0/24 via {first.tunnel} dev {TUNNEL} metric 101",
                    f"route delete 172.16.0.0/16 via {first.tunnel} dev {TUNNEL} metric 101",
                )
            done = ping.result()
        assert done.lost == 0, done.output[-300:]
        carried = wire.carried(one.lan_host, two.lan_host)
        assert {each.outer_destination for each in carried} == {two.nbma}, "shortcuts need no hub"

        for spoke in (one, two):
            assert spoke.flush("shortcuts")
        with one.capture() as wire:
            assert one.ping_lan(two).lost == 0
            wait_direct(one, two)
        assert wire.carried(one.lan_host, two.lan_host)[0].outer_destination == second.nbma

        first.start()
        seconds = timed(
            lambda: all(
                is_registered_at(spoke, first) and second.binding(spoke.tunnel) is None
                for spoke in (one, two)
            ),
            20.0,
            "both spokes registered with the first hub and not with the second",
        )
        print(f"hubs: both spokes back at the first after {seconds:.2f} s")
        for spoke in (one, two):
            left = row(spoke, "nhs", nbma=second.nbma)
            assert left is not None
            assert left["state"] == "standby"
            assert spoke.tunnel not in second.neighbors()
            spoke.namespace.ip(*lab.static_routes(spoke))
        assert one.ping_lan(two, count=3).lost == 0


def test_every_address_of_a_name_is_a_hub_and_a_name_may_come_late() -> None:
    with Lab() as lab:
        hubs = [
            lab.add(NhrpdNode(number=number, role=Role.HUB, holding_time_s=HOLDING_TIME_S))
            for number in (1, 2)
        ]
        spoke = lab.add(
            NhrpdNode(
                number=3,
                role=Role.SPOKE,
                holding_time_s=HOLDING_TIME_S,
                nhs=(("dynamic", NAME),),
            )
        )
        names = private_hosts(spoke)
        lab.start()

        def complaint() -> dict[str, object] | None:
            found = row(spoke, "nhs", name=NAME)
            return found if found and found["last_error"] else None

        unknown = wait_until(complaint, 10.0, "an error about the name")
        assert (unknown["state"], unknown["nbma"]) == ("down", None)

        names.write_text("".join(f"{hub.nbma} {NAME}\n" for hub in hubs))
        seconds = timed(
            lambda: all(is_registered_at(spoke, hub) for hub in hubs), 20.0, "registered with both"
        )
        print(f"hubs: registered with both {seconds:.2f} s after the name was known")
        wait_registered(lab)
        rows = [each for each in spoke.show("nhs") if each["name"] == NAME]
        assert {each["nbma"] for each in rows} == {hub.nbma for hub in hubs}
        assert {each["protocol"] for each in rows} == {hub.tunnel for hub in hubs}
        assert [each["last_error"] for each in rows] == [None, None]


def private_hosts(node: NhrpdNode) -> Path:
    """A hosts file of the node's own; empty."""
    path = node.directory / "hosts"
    path.write_text("")
    node.namespace.run("mount", "--bind", path, "/etc/hosts")
    return path
