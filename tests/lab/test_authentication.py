"""A cloud with a pass phrase; and, as all eight packet types are seen there, what tshark says to them."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.expect import row, wait_direct, wait_one_registered
from tools.lab.capture import Capture
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode
from tools.lab.topology import Lab
from tools.lab.wiring import LAN

SECRET, WRONG = "sesame", "pumpkin"
HOLDING_TIME_S = 15
ERROR_INDICATION = 7
ALL_TYPES = set(range(1, 9))


@dataclass(frozen=True, slots=True)
class Cloud:
    """A hub and its spokes; the third has another pass phrase."""

    hub: NhrpdNode
    one: NhrpdNode
    two: NhrpdNode
    stranger: NhrpdNode
    wires: tuple[Capture, ...]
    """At the hub and at the first spoke, from before the daemons started."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Lab(sample_rate="60/minute") as lab:
        nodes = [
            lab.add(
                NhrpdNode(
                    number=number,
                    role=Role.HUB if number == 1 else Role.SPOKE,
                    holding_time_s=HOLDING_TIME_S,
                    authentication=WRONG if number == 4 else SECRET,
                )
            )
            for number in (1, 2, 3, 4)
        ]
        hub, one, two, stranger = nodes
        with hub.capture() as at_hub, one.capture() as at_one:
            lab.start()
            for spoke in (one, two):
                wait_one_registered(hub, spoke)
            yield Cloud(hub, one, two, stranger, (at_hub, at_one))


def test_who_has_the_pass_phrase_is_served(cloud: Cloud) -> None:
    """Registered by the fixture; forwarded requests and answers are signed anew."""
    wait_direct(cloud.one, cloud.two)
    assert cloud.one.neighbors()[cloud.two.tunnel].nbma == cloud.two.nbma


def test_who_has_another_is_refused_and_told_why(cloud: Cloud) -> None:

    def complaint() -> dict[str, object] | None:
        found = row(cloud.stranger, "nhs")
        return found if found and found["last_error"] else None

    told = wait_until(complaint, 10.0, "the reason")
    assert told["state"] == "refused"
    assert "the server has another pass phrase than we" in str(told["last_error"])
    assert cloud.hub.logged("the client has another pass phrase")
    assert cloud.hub.binding(cloud.stranger.tunnel) is None
    assert cloud.stranger.tunnel not in cloud.hub.neighbors()
    dropped = row(cloud.hub, "traffic", direction="dropped", type="authentication-failed")
    assert dropped is not None
    errors = [
        each
        for each in cloud.wires[0].nhrp(ERROR_INDICATION)
        if each.outer_destination == cloud.stranger.nbma
    ]
    assert errors
    assert not cloud.stranger.logged(SECRET)
    assert SECRET not in cloud.hub.run_ctl("show", "config").stdout


def test_wireshark_has_nothing_to_complain_about(cloud: Cloud) -> None:
    one, two = cloud.one, cloud.two
    wait_direct(one, two)
    wait_until(lambda: cloud.wires[0].nhrp(ERROR_INDICATION), 10.0, "an error indication")

    # Its network leaves: the first spoke takes its answers back, and is told that they were.
    one.namespace.ip(f"link set {LAN} down")
    wait_until(lambda: one.lan_prefix not in two.routes(), 5.0, "the shortcut to be taken back")
    assert row(two, "shortcuts", prefix=one.lan_prefix) is None
    one.namespace.ip(f"link set {LAN} up")

    def types() -> set[int | None]:
        return {each.nhrp_type for wire in cloud.wires for each in wire.nhrp()}

    wait_until(lambda: types() >= ALL_TYPES, 10.0, f"packets of all types; seen: {types()}")
    for wire in cloud.wires:
        assert dissected(wire.path) == []


def dissected(path: Path) -> list[str]:
    """The NHRP packets of a capture about which tshark has something to say, or with a bad checksum."""
    fields = ["frame.number", "nhrp.hdr.op.type", "nhrp.hdr.chksum.status", "_ws.expert.message"]
    done = subprocess.run(
        ["tshark", "-r", str(path), "-Y", "nhrp", "-T", "fields"]
        + [word for field in fields for word in ("-e", field)],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    lines = done.stdout.splitlines()
    assert lines, "this tshark does not know NHRP"
    return [
        line
        for line in lines
        for _, _, checksum, message in [line.split("\t")]
        if message or not checksum.startswith("1")
    ]
