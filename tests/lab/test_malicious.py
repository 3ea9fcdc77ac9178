"""What a spoke cannot do that is registered and malicious: no rule is configured, without IPsec and with it.

Each test is one thing that it tries, against the hub, a victim and another spoke, and what is left of it. The sequel of
every one is the same: the daemons run, the clients are registered, and the victim and the other spoke reach each other
and the hub. Without IPsec an outer address says nothing for certain, and whose a tunnel address is nobody can prove: it
goes to who registered last, unless `unique` is set.

These need a spoke that answers what it is really asked, hours, or thousands of peers; the tests are of the core
(tests/unit/core), where the packets are the same:

- answers that name a gateway outside the cloud, on the victim's network or at somebody's outer address:
  registration/test_claims.py, test_a_replys_gateway_is_judged_like_a_registration
- answers that are wider than what is behind the spoke: resolution/test_answer_width.py,
  test_answer_is_cut_to_what_is_not_known_to_be_elsewhere
- answers that name hundreds of peers that do not exist: resolution/test_wishes.py,
  test_one_responder_makes_few_wishes_for_peers_that_nobody_has_reached; servers go first:
  runtime/vici/test_admission.py
- holding times of 18 hours: registration/test_claims.py, test_a_holding_time_is_capped_and_the_client_is_told
- the outer address of a peer that is away, as a tunnel address: instance/test_identity_lock.py,
  test_who_comes_from_an_outer_address_ends_its_being_a_tunnel_address
- everything else, in any order: tests/fuzz
"""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import pytest

from nhrpd_py.cli.client import Client
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, of_entries
from nhrpd_py.packet.iana import NAT, PacketType
from tests.lab.by_hand import connect
from tests.lab.clouds import cloud, make_shortcuts, server_state, wait_ready
from tests.lab.insider import HOLDING_TIME_S, Insider, packed
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until
from tools.lab.nodes import registered

pytestmark = pytest.mark.timeout(300)

GUESSES = 2000
BINDINGS = 80
"""In one packet."""


class Scene:
    """A hub, a victim, another spoke, and the bad one."""

    def __init__(self, nodes: list[ClassicNode], *, protected: bool) -> None:
        self.hub, self.victim, self.other, bad = nodes
        self.honest = (self.hub, self.victim, self.other)
        self.protected = protected
        self.bad = Insider(bad)
        if protected:  # so that it reaches the victim straight too
            connect(bad, self.victim)

    def settle(self) -> None:
        """Waits until the daemons have handled what came."""
        for node in self.honest:
            wait_until(lambda node=node: not waiting(node), 10.0, "an empty inbox")  # type: ignore[misc]


@pytest.fixture(scope="module", params=["plain", "IPsec"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    protected = request.param == "IPsec"
    options: dict[str, Any] = {} if protected else {"ipsec": None}
    with cloud(
        *({} for _ in range(4)), static=True, bgp=False, holding_time_s=HOLDING_TIME_S, **options
    ) as (_, nodes):
        wait_ready(nodes)
        scene = Scene(nodes, protected=protected)
        with contextlib.closing(scene.bad):
            yield scene


@pytest.fixture(autouse=True)
def unharmed(scene: Scene) -> Iterator[None]:
    before = [node.process.pid for node in scene.honest]
    yield
    scene.settle()
    assert [node.process.poll() for node in scene.honest] == [None] * 3
    assert [node.process.pid for node in scene.honest] == before
    for node in scene.honest:
        assert counters(node)["pump"]["internal-error"] == 0, node.log_path.read_text()[-4000:]
    for spoke in (scene.victim, scene.other):
        binding = registered(scene.hub, spoke)
        assert binding is not None
        assert binding.nbma == spoke.nbma
        assert scene.hub.neighbors()[spoke.tunnel].nbma == spoke.nbma
        assert scene.hub.ping_lan(spoke, count=2).lost == 0
        assert spoke.ping_lan(scene.hub, count=2).lost == 0
    assert scene.victim.ping_lan(scene.other, count=2).lost == 0


def waiting(node: ClassicNode) -> int:
    return int(counters(node)["inbox"]["waiting"])


def counters(node: ClassicNode) -> Any:
    return Client(str(node.socket_path)).get("/v1/status")["counters"]


def drops(node: ClassicNode, reason: str) -> int:
    rows = node.show("traffic")
    return sum(row["packets"] for row in rows if row["type"] == reason)


def many_entries(start: int) -> tuple[ClientInformation, ...]:
    """Entries of a registration of as many addresses as have room in a packet."""
    return tuple(
        ClientInformation(
            prefix_length=32,
            holding_time_s=0xFFFF,
            protocol=packed(f"10.255.{100 + number // 250 % 100}.{number % 250 + 1}"),
        )
        for number in range(start, start + BINDINGS)
    )


# Addresses.


@pytest.mark.parametrize("address", ["8.8.8.8", "172.16.1.10", "192.0.2.77", "224.0.0.5"])
def test_it_registers_no_address_from_outside_the_cloud(scene: Scene, address: str) -> None:
    """A public one, one of the hub's own LAN, one of the underlay, a group."""
    hub, bad = scene.hub, scene.bad
    before = len(hub.logged("registration.refused"))
    bad.send(hub, bad.registration(hub, address))
    wait_until(lambda: len(hub.logged("registration.refused")) > before, 5.0, "it is refused")
    assert hub.binding(address) is None
    assert f"{address}/32" not in hub.routes()


def test_it_keeps_nobodys_tunnel_address(scene: Scene) -> None:
    """IPsec proves who sends: it gets none. Without, its owner's next renewal brings it back."""
    hub, victim, bad = scene.hub, scene.victim, scene.bad
    if not scene.protected:
        bad.send(hub, bad.registration(hub, victim.tunnel))
        scene.settle()
        wait_until(
            lambda: hub.neighbors()[victim.tunnel].nbma == victim.nbma,
            HOLDING_TIME_S / 3 + 5.0,
            "its owner has it again",
        )
        return
    ping = hub.namespace.start_ping(victim.tunnel, interval_s=0.1)
    before = len(hub.logged("registration.refused"))
    for _ in range(5):
        bad.send(hub, bad.registration(hub, victim.tunnel))
    wait_until(lambda: len(hub.logged("registration.refused")) >= before + 1, 5.0, "refused")
    scene.settle()
    assert ping.finish().lost == 0


def test_it_registers_nothing_at_another_spoke(scene: Scene) -> None:
    """Straight, and by way of the hub."""
    hub, victim, bad = scene.hub, scene.victim, scene.bad
    strange = ["8.8.4.4", "172.16.2.99", "10.99.0.1"]
    for address in strange:
        for way in (victim, hub):
            bad.send(way, bad.registration(victim, address))
    scene.settle()
    for address in strange:
        assert victim.binding(address) is None
        assert f"{address}/32" not in victim.routes()


def test_it_asks_in_nobodys_name(scene: Scene) -> None:
    """A requester is bound for its answer: to the victim's own host, or to any address."""
    hub, victim, bad = scene.hub, scene.victim, scene.bad
    for source in (victim.lan_host, "9.9.9.9", victim.tunnel):
        request = bad.message(
            PacketType.RESOLUTION_REQUEST,
            victim.lan_host,
            source_protocol=packed(source),
            flags=0xC800 | NAT,
        )
        bad.send(victim, request)
        bad.send(hub, request)
    scene.settle()
    routes = victim.routes()
    for source in (victim.lan_host, "9.9.9.9"):
        assert victim.binding(source) is None
        assert f"{source}/32" not in routes


def test_a_transit_record_of_its_own_counts_for_nothing(scene: Scene) -> None:
    """It claimed a thousand addresses for another spoke's outer address, which had no room left for itself."""
    hub, other, bad = scene.hub, scene.other, scene.bad
    record = ClientInformation(
        holding_time_s=HOLDING_TIME_S, nbma=packed(bad.node.nbma), protocol=packed(bad.node.tunnel)
    )
    extensions = (of_entries(4, (record,)), Extension(5), Extension(3))
    for start in range(0, 13 * BINDINGS, BINDINGS):
        entries = many_entries(start)
        request = bad.registration(
            hub,
            bad.node.tunnel,
            source_nbma=packed(other.nbma),
            entries=entries,
            extensions=extensions,
        )
        bad.send(hub, request)
    scene.settle()
    held = [each for each in hub.cache() if each.nbma == other.nbma]
    assert [each.protocol for each in held] == [other.tunnel]
    assert hub.flush("cache", nbma=other.nbma)
    wait_until(lambda: registered(hub, other), 20.0, "the other one registers again")
    hub.flush("cache", nbma=bad.node.nbma)


# Shortcuts.


def test_it_guesses_no_request_id(scene: Scene) -> None:
    """It tells the victim to ask for the other spoke's LAN, and answers before that."""
    hub, victim, other, bad = scene.hub, scene.victim, scene.other, scene.bad
    victim.forget_shortcuts()
    inner = bytes.fromhex("450000540000400040010000")
    inner += packed(victim.lan_host) + packed(other.lan_host) + bytes(64)
    bad.send(
        victim,
        bad.message(PacketType.TRAFFIC_INDICATION, victim.lan_host, payload=inner, extensions=()),
    )
    entry = ClientInformation(
        prefix_length=24,
        holding_time_s=HOLDING_TIME_S,
        nbma=packed(bad.node.nbma),
        protocol=packed(bad.node.tunnel),
    )
    lies = (
        bad.message(
            PacketType.RESOLUTION_REPLY,
            other.lan_host,
            source_nbma=packed(victim.nbma),
            source_protocol=packed(victim.tunnel),
            request_id=number,
            flags=0xE800 | NAT,
            entries=(entry,),
        )
        for number in range(1, GUESSES)
    )
    bad.pour(victim, lies, per_s=400.0)
    scene.settle()
    assert drops(victim, "unsolicited-reply") > 0
    assert victim.shortcuts().get(other.lan_prefix) != bad.node.tunnel
    assert hub.ping_lan(other, count=1).lost == 0


def test_it_takes_back_no_shortcut_of_others(scene: Scene) -> None:
    hub, victim, other, bad = scene.hub, scene.victim, scene.other, scene.bad
    make_shortcuts(victim, other)
    ping = victim.lan.start_ping(other.lan_host, interval_s=0.1)
    for way in (hub, victim):
        bad.send(way, bad.purge(victim.tunnel, "172.16.0.0/12"))
        bad.send(
            way, bad.purge(victim.tunnel, "172.16.0.0/12", source_protocol=packed(other.tunnel))
        )
    scene.settle()
    assert victim.shortcuts().get(other.lan_prefix) == other.tunnel
    assert ping.finish().lost == 0


def test_it_takes_back_no_registration_of_others(scene: Scene) -> None:
    hub, victim, bad = scene.hub, scene.victim, scene.bad
    bad.send(hub, bad.purge(hub.tunnel, f"{victim.tunnel}/32"))
    bad.send(
        hub,
        bad.purge(hub.tunnel, f"{victim.tunnel}/32", source_protocol=packed(victim.tunnel)),
    )
    scene.settle()
    assert registered(hub, victim) is not None


def test_it_ends_no_registration_by_errors(scene: Scene) -> None:
    victim, bad = scene.victim, scene.bad
    about = bad.registration(scene.hub, victim.tunnel, source_nbma=packed(victim.nbma))
    with contextlib.suppress(OSError):
        for code in (6, 11, 15):
            bad.send(
                victim,
                bad.message(
                    PacketType.ERROR_INDICATION,
                    victim.tunnel,
                    source_protocol=packed(scene.hub.tunnel),
                    error_code=code,
                    payload=about.source_nbma + bytes(40),
                    extensions=(),
                ),
            )
    scene.settle()
    assert server_state(victim) == "up"


# Floods.


def test_indications_about_everything_leave_room_for_a_true_one(scene: Scene) -> None:
    victim, other, bad = scene.victim, scene.other, scene.bad
    for node in (victim, other):
        node.forget_shortcuts()
    rng = random.Random(1)
    header = bytes.fromhex("450000540000400040010000") + packed(victim.lan_host)

    def indications() -> Iterator[Any]:
        for _ in range(800):
            target = bytes([172, 16, rng.randrange(10, 250), rng.randrange(1, 255)])
            yield bad.message(
                PacketType.TRAFFIC_INDICATION,
                victim.lan_host,
                payload=header + target + bytes(64),
                extensions=(),
            )

    bad.pour(victim, indications(), per_s=400.0)
    make_shortcuts(victim, other, deadline_s=15.0)
    victim.forget_shortcuts()


def test_a_flood_keeps_nobody_from_registering(scene: Scene) -> None:
    hub, victim, bad = scene.hub, scene.victim, scene.bad

    def rubbish() -> Iterator[Any]:
        for number in range(400):
            yield bad.registration(hub, bad.node.tunnel, entries=many_entries(number * BINDINGS))
            yield bad.purge(hub.tunnel, "10.0.0.0/8")

    bad.pour(hub, rubbish(), per_s=2000.0)
    assert hub.flush("cache", nbma=victim.nbma)
    wait_until(lambda: registered(hub, victim), 20.0, "the victim registers")
    assert drops(hub, "source-limited") > 0
    hub.flush("cache", nbma=bad.node.nbma)
