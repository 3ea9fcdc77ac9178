"""Somebody on the Internet sends what he likes: spoiled packets by the thousand, floods, lies.

One network with a known seed; a stranger outside of it knows its GRE key and has seen its packets. What
has to hold: the daemons run on, the clients keep working, every drop has a reason, nothing grows
without bound. (Who sends with a client's own outer address is told apart by IPsec alone.)
"""

import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from nhrpd_py.cli.client import Client
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.iana import PacketType
from nhrpd_py.packet.message import Message, decode, encode
from nhrpd_py.packet.wire import internet_checksum
from tests.fuzz.packet_fuzzer import mutate
from tests.lab.expect import wait_direct, wait_registered
from tests.lab.frames import Stranger
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode, dmvpn
from tools.lab.topology import Lab

SEED = 20261124
MUTANTS = 6000
FLOOD = 3000
BINDINGS_PER_NBMA = 1024
RESOLUTIONS = 1024
"""Limits of the daemon's tables."""
GROWTH_BYTES = 16 << 20
"""For all floods together. 1 024 bindings and as many resolutions are about 2 MB."""
LOG_BYTES_PER_S = 20_000
AUTHENTICATION = 7


class Scene:
    """Hub, two spokes, a stranger, and a packet of each type that went between them."""

    def __init__(self, lab: Lab, stranger: Stranger, real: dict[int, bytes]) -> None:
        hub, one, two = lab.nodes
        assert isinstance(hub, NhrpdNode)
        assert isinstance(one, NhrpdNode)
        assert isinstance(two, NhrpdNode)
        self.lab, self.hub, self.one, self.two = lab, hub, one, two
        self.stranger = stranger
        self.real = real
        self.resident = {node.name: node.resident_bytes() for node in (hub, one, two)}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab(sample_rate="60/minute") as lab:
        dmvpn(
            lab,
            hub=NhrpdNode,
            spokes=(NhrpdNode, NhrpdNode),
            holding_time_s=120,
            unique=True,
            authentication="secret",
            log_level="info",
        )
        with Stranger(lab) as stranger:
            yield Scene(lab, stranger, real_packets(lab, stranger))


@pytest.fixture(autouse=True)
def unharmed(scene: Scene) -> Iterator[None]:
    """After each attack, the same processes serve the same clients, and no memory is lost."""
    nodes = (scene.hub, scene.one, scene.two)
    before = [node.process.pid for node in nodes]
    yield
    assert [node.process.poll() for node in nodes] == [None, None, None]
    assert [node.process.pid for node in nodes] == before
    for node in nodes:
        counters = status(node)["counters"]
        assert counters["pump"]["internal-error"] == 0, node.log_path.read_text()[-4000:]
        growth = node.resident_bytes() - scene.resident[node.name]
        print(f"hostile: {node.name} grew by {growth / 1024:.0f} KiB")
        assert growth < GROWTH_BYTES
    wait_registered(scene.lab, 10.0)
    for spoke in (scene.one, scene.two):
        binding = scene.hub.binding(spoke.tunnel, "dynamic")
        assert binding is not None
        assert binding.nbma == spoke.nbma
        assert scene.hub.neighbors()[spoke.tunnel].nbma == spoke.nbma
        assert scene.hub.lan.ping(spoke.lan_host, count=2).lost == 0


def test_spoiled_packets_are_counted_and_harm_nobody(scene: Scene) -> None:
    rng = random.Random(SEED)
    before = {node: drops(node) for node in (scene.hub, scene.one)}
    pool = list(scene.real.values())
    for node in (scene.hub, scene.one):
        mutants = [mutate(rng.choice(pool), rng) for _ in range(MUTANTS // 2)]
        sent = scene.stranger.send(node, [(outer(rng, scene), each) for each in mutants])
        found = wait_until(lambda node=node: settled(node), 20.0, "all is read")  # type: ignore[misc]
        dropped = {
            reason: count - before[node].get(reason, 0)
            for reason, count in drops(node).items()
            if count > before[node].get(reason, 0)
        }
        print(f"hostile: {sent} spoiled packets to {node.name}: {dropped}; {found} read in all")
        for reason in ("truncated", "bad-checksum", "bad-extension", "authentication-failed"):
            assert dropped.get(reason, 0) > 0, dropped
        assert sum(dropped.values()) > sent / 2


def test_short_huge_and_foreign_packets_are_counted(scene: Scene) -> None:
    hub, stranger = scene.hub, scene.stranger
    request = scene.real[PacketType.REGISTRATION_REQUEST]
    before, read = drops(hub), received(hub)
    # Of the very shortest ones the kernel does not make a packet.
    short = [(stranger.nbma, request[:length]) for length in range(8, len(request))]
    sent = stranger.send(hub, short)
    expected = read + sent
    wait_until(lambda: received(hub) >= expected, 10.0, "the short ones are read")
    for size in (1500, 9000, 16000):
        expected += 1
        stranger.send_fragmented(hub, resized(request, size))
        wait_until(lambda: received(hub) >= expected, 5.0, f"{size} octets are read")  # noqa: B023
    wait_until(lambda: settled(hub), 10.0, "all is handled")
    after = drops(hub)
    assert after["truncated"] > before.get("truncated", 0)
    # Padded ones may be understood: End is where the extensions end.
    assert sent <= sum(after.values()) - sum(before.values()) <= sent + 3
    # What is longer than any NHRP packet of a sane network never gets to the decoder.
    stranger.send_fragmented(hub, resized(request, 40000))
    wait_until(lambda: drops(hub).get("oversized") == 1, 5.0, "the huge one in `show traffic`")
    # Another tunnel's key is another tunnel: the kernel keeps that from us.
    read = received(hub)
    stranger.send(hub, [(stranger.nbma, request)] * 50, key=43)
    stranger.send(hub, [(stranger.nbma, request)] * 50, key=None)
    stranger.send(hub, [(stranger.nbma, request[:10])])
    wait_until(lambda: received(hub) > read, 5.0, "the one with our key")
    assert received(hub) < read + 50  # a client may have renewed its registration meanwhile


def test_a_wrong_secret_is_refused_by_the_thousand(scene: Scene) -> None:
    hub = scene.hub
    before = sum(drops(hub).values())
    entries = len(hub.cache())
    sent = scene.stranger.send(
        hub,
        [(scene.stranger.nbma, registration(scene, n, secret=b"wr0ng")) for n in range(FLOOD)],
    )
    wait_until(lambda: sum(drops(hub).values()) >= before + sent, 30.0, "all refused")
    assert drops(hub)["source-limited"] > 0  # nobody needs so many
    assert len(hub.cache()) == entries
    # Error Indications are limited: no reflector, no amplifier.
    row = traffic(hub, "sent", "error-indication")
    print(f"hostile: {row} Error Indications for all that so far")
    assert row < FLOOD / 2


def test_registrations_from_one_address_end_at_the_limit(scene: Scene) -> None:
    hub, nbma = scene.hub, scene.stranger.nbma
    flood = [(nbma, registration(scene, n)) for n in range(FLOOD)]
    scene.stranger.send(hub, flood, per_s=400.0)  # fewer than are dropped as a flood
    wait_until(lambda: len(of_nbma(hub, nbma)) == BINDINGS_PER_NBMA, 20.0, "the limit")
    wait_until(lambda: settled(hub), 20.0, "all is handled")
    assert len(of_nbma(hub, nbma)) == BINDINGS_PER_NBMA
    stranger = [each for each in hub.neighbors().values() if each.nbma == nbma]
    assert len(stranger) == BINDINGS_PER_NBMA
    assert hub.logged("table.full")
    assert hub.flush("cache", nbma=nbma)
    wait_until(
        lambda: all(each.nbma != nbma for each in hub.neighbors().values()), 10.0, "all flushed"
    )


def test_a_stranger_cannot_take_over_a_client_or_its_registration(scene: Scene) -> None:
    hub, one, nbma = scene.hub, scene.one, scene.stranger.nbma
    stolen = encode(replaced(scene, PacketType.REGISTRATION_REQUEST, one.tunnel, hub.tunnel))
    purge = encode(
        replaced(
            scene,
            PacketType.PURGE_REQUEST,
            "10.255.255.99",
            hub.tunnel,
            entries=(ClientInformation(prefix_length=32, protocol=packed(one.tunnel)),),
        )
    )
    refused = traffic(hub, "received", "registration-request")
    scene.stranger.send(hub, [(nbma, stolen), (nbma, purge)])
    wait_until(
        lambda: traffic(hub, "received", "registration-request") > refused, 5.0, "they are read"
    )
    wait_until(lambda: settled(hub), 5.0, "and handled")
    assert hub.logged("registration.refused")
    binding = hub.binding(one.tunnel, "dynamic")
    assert binding is not None
    assert binding.nbma == one.nbma


def test_indications_about_everything_fill_bounded_tables(scene: Scene) -> None:
    """Each indication makes a spoke ask the hub, so this also floods the hub with requests."""
    one, rng = scene.one, random.Random(SEED)
    targets = [random_target(rng) for _ in range(FLOOD)]
    scene.stranger.send(
        one, [(scene.hub.nbma, indication(scene, target)) for target in targets], per_s=1000.0
    )
    wait_until(lambda: settled(one), 20.0, "all is handled")
    pending = [each for each in one.show("shortcuts") if each["state"] != "active"]
    print(f"hostile: {len(pending)} of {FLOOD} targets in the table of {one.name}")
    assert 0 < len(pending) <= RESOLUTIONS
    assert one.flush("shortcuts")
    assert one.show("shortcuts") == []
    scene.hub.forget_shortcuts()
    wait_direct(one, scene.two)


def test_requests_for_everything_leave_nothing_at_the_hub(scene: Scene) -> None:
    hub, rng = scene.hub, random.Random(SEED)
    asked = [
        encode(
            replaced(
                scene,
                PacketType.RESOLUTION_REQUEST,
                f"10.255.{200 + n // 250}.{n % 250 + 1}",
                random_target(rng),
                request_id=n,
            )
        )
        for n in range(FLOOD)
    ]
    before = len(hub.cache())
    scene.stranger.send(hub, [(scene.stranger.nbma, each) for each in asked], per_s=1000.0)
    wait_until(lambda: settled(hub), 20.0, "all is handled")
    assert len(hub.cache()) <= before + BINDINGS_PER_NBMA
    assert len(hub.show("shortcuts")) == 0


def test_the_log_of_an_attack_stays_small(scene: Scene) -> None:
    rng = random.Random(SEED)
    pool = list(scene.real.values())
    log = scene.hub.log_path
    before, began = log.stat().st_size, status(scene.hub)["uptime_s"]
    mutants = [mutate(rng.choice(pool), rng) for _ in range(MUTANTS // 2)]
    scene.stranger.send(scene.hub, [(outer(rng, scene), each) for each in mutants])
    wait_until(lambda: settled(scene.hub), 20.0, "all is handled")
    seconds = status(scene.hub)["uptime_s"] - began
    written = log.stat().st_size - before
    print(f"hostile: {written} octets of log in {seconds:.1f} s of attack")
    assert written < LOG_BYTES_PER_S * (seconds + 1)


# What they send.


def real_packets(lab: Lab, stranger: Stranger) -> dict[int, bytes]:
    """Has one packet of each type sent, and returns them as they were on the wire."""
    hub, one, two = lab.nodes
    assert isinstance(hub, NhrpdNode)
    assert isinstance(one, NhrpdNode)
    assert isinstance(two, NhrpdNode)
    wait_registered(lab)
    with hub.capture() as at_hub, one.capture() as at_one:
        assert hub.flush("cache", nbma=one.nbma)  # 5 to the client, then 3 and 4
        wait_registered(lab)
        wait_direct(one, two)  # 8, 1, 2
        # A route that moves makes `two` take its answer back: 5 with the wish for 6.
        two.namespace.ip(f"route add blackhole {two.lan_host}/32")
        two.namespace.ip(f"route del {two.lan_prefix}")
        # 7: nobody signed this.
        stranger.send(hub, [(one.nbma, unsigned_request(one.tunnel, hub.tunnel))])

        def seen() -> dict[int, bytes]:
            packets = (*at_hub.nhrp(), *at_one.nhrp())
            return {each.nhrp_type: each.payload for each in packets if each.nhrp_type}

        found = wait_until(lambda: len(seen()) == 8 and seen(), 10.0, "a packet of each type")
        assert isinstance(found, dict)
    two.namespace.ip(
        f"route del blackhole {two.lan_host}/32", f"route add {two.lan_prefix} dev lan0"
    )
    return found


def unsigned_request(source: str, destination: str) -> bytes:
    return encode(message(PacketType.REGISTRATION_REQUEST, source, destination, "192.0.2.66"))


def message(kind: PacketType, source: str, destination: str, nbma: str, **fields: Any) -> Message:
    entries: tuple[ClientInformation, ...] = (
        ClientInformation(prefix_length=255, holding_time_s=120),
    )
    if kind in (PacketType.TRAFFIC_INDICATION, PacketType.ERROR_INDICATION):
        entries = ()
    values: dict[str, Any] = {"entries": entries, "request_id": 1, **fields}
    return Message(
        type=kind,
        afn=1,
        protocol_type=0x0800,
        source_nbma=packed(nbma),
        source_protocol=packed(source),
        destination_protocol=packed(destination),
        **values,
    )


def replaced(
    scene: Scene, kind: PacketType, source: str, destination: str, **fields: Any
) -> Message:
    """A packet with the right secret, as somebody inside could send it."""
    signature = decode(scene.real[PacketType.REGISTRATION_REQUEST]).extension(AUTHENTICATION)
    assert signature is not None
    return message(
        kind, source, destination, scene.stranger.nbma, extensions=(signature,), **fields
    )


def registration(scene: Scene, number: int, secret: bytes | None = None) -> bytes:
    source = f"10.200.{number // 250}.{number % 250 + 1}"
    made = encode(
        replaced(
            scene, PacketType.REGISTRATION_REQUEST, source, scene.hub.tunnel, request_id=number + 1
        )
    )
    if secret is None:
        return made
    return resized(made.replace(b"secret", secret.ljust(6, b"x")), len(made))


def indication(scene: Scene, target: str) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 84, 0, 0, 63, 1, 0)
    inner = header + packed(scene.one.lan_host) + packed(target) + bytes(8)
    return encode(
        replaced(
            scene,
            PacketType.TRAFFIC_INDICATION,
            scene.hub.tunnel,
            scene.one.lan_host,
            entries=(),
            request_id=0,
            payload=inner,
        )
    )


def resized(packet: bytes, size: int) -> bytes:
    """Pads a packet and makes its size and checksum fit."""
    octets = bytearray(packet.ljust(size, b"\0"))
    octets[10:14] = size.to_bytes(2, "big") + b"\0\0"
    octets[12:14] = internet_checksum(bytes(octets)).to_bytes(2, "big")
    return bytes(octets)


def outer(rng: random.Random, scene: Scene) -> str:
    """An outer source that is none of the network's own."""
    return rng.choice((scene.stranger.nbma, f"198.51.100.{rng.randrange(1, 255)}"))


def random_target(rng: random.Random) -> str:
    return f"172.16.{rng.randrange(10, 250)}.{rng.randrange(1, 255)}"


def packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


# What became of it.


def status(node: NhrpdNode) -> dict[str, Any]:
    return Client(str(node.socket_path)).get("/v1/status")


def drops(node: NhrpdNode) -> dict[str, int]:
    rows = node.show("traffic")
    return {each["type"]: each["packets"] for each in rows if each["direction"] == "dropped"}


def traffic(node: NhrpdNode, direction: str, kind: str) -> int:
    rows = node.show("traffic")
    return sum(
        each["packets"] for each in rows if (each["direction"], each["type"]) == (direction, kind)
    )


def received(node: NhrpdNode) -> int:
    """Packets that the daemon read from its tunnel."""
    count: int = status(node)["counters"]["packets"].get("received", 0)
    return count


def settled(node: NhrpdNode) -> int:
    """The number of packets read, once no more come."""
    before, after = received(node), 0
    wait_until(lambda: status(node)["counters"]["inbox"]["waiting"] == 0, 10.0, "an empty inbox")
    after = received(node)
    return after if after == before else 0


def of_nbma(node: NhrpdNode, nbma: str) -> list[dict[str, Any]]:
    return [each for each in node.show("cache") if each["nbma"] == nbma]
