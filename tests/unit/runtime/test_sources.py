"""How much one outer source may send."""

import pytest

from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension
from nhrpd_py.packet.iana import ExtensionType
from nhrpd_py.packet.message import Message, encode
from nhrpd_py.runtime.sources import (
    BURST,
    FEW_SOURCES,
    MAX_SOURCES,
    TOKENS_PER_S,
    SourceLimiter,
    cost_of,
)
from tests.support.messages import (
    a_purge_request,
    a_registration_request,
    a_resolution_request,
    a_traffic_indication,
)
from tests.support.sites import host, nbma, tunnel


def entries(count: int) -> tuple[ClientInformation, ...]:
    return tuple(
        ClientInformation(
            prefix_length=32, holding_time_s=60, nbma=nbma(3), protocol=bytes((10, 9, 9, number))
        )
        for number in range(count)
    )


EIGHTY = a_registration_request(2, entries=entries(80))


def cost(packet: Message | bytes) -> int:
    data = packet if isinstance(packet, bytes) else encode(packet)
    return cost_of(b"before" + data + b"behind", 6, len(data))


def admitted(limiter: SourceLimiter, packet: Message, count: int, now: float = 0.0) -> int:
    return sum(limiter.admits(nbma(4), cost(packet), now) for _ in range(count))


@pytest.mark.parametrize(
    ("packet", "tokens"),
    [
        (a_registration_request(2), 2),
        (a_resolution_request(2), 2),
        (a_purge_request(2, "172.16.2.0/24", tunnel(1)), 2),
        (a_traffic_indication(1, host(2), host(3)), 1),
        (a_registration_request(2, entries=entries(1)), 2),
        (EIGHTY, 134),
        (
            a_registration_request(2, extensions=(Extension(ExtensionType.END + 20, bytes(4096)),)),
            18,
        ),
        (b"", 1),
        (bytes(39), 1),
        (bytes(16384), 1363),
        (bytes(14) + b"\xff\xff" + bytes(1000), 82),
    ],
)
def test_packet_costs_what_there_is_to_do_about_it(packet, tokens) -> None:
    assert cost(packet) == tokens


def test_flood_of_one_source_is_cut_and_others_are_not_touched() -> None:
    limiter = SourceLimiter()
    assert admitted(limiter, a_registration_request(4), 10_000) == BURST / 2
    assert admitted(limiter, a_registration_request(4), 10_000, now=1.0) == TOKENS_PER_S / 2
    assert limiter.admits(nbma(3), cost(a_registration_request(3)), 1.0)


def test_packets_of_many_entries_are_cut_sooner() -> None:
    limiter = SourceLimiter()
    assert admitted(limiter, EIGHTY, 10_000) == 29
    assert admitted(limiter, EIGHTY, 10_000, now=1.0) == 8


def test_honest_spoke_is_never_touched() -> None:
    """One registration each 0.2 s, and a message of 80 entries each ten seconds."""
    limiter = SourceLimiter()
    for tick in range(5 * 3600):
        assert admitted(limiter, a_registration_request(2), 1, now=tick / 5) == 1
        if tick % 50 == 0:
            assert admitted(limiter, EIGHTY, 1, now=tick / 5) == 1


def test_spoke_that_a_thousand_others_ask_by_way_of_a_hub_hears_all_of_them() -> None:
    assert admitted(SourceLimiter(), a_resolution_request(2), 1000) == 1000


def test_number_of_sources_is_bounded() -> None:
    limiter = SourceLimiter()
    for number in range(2 * MAX_SOURCES):
        assert limiter.admits(number.to_bytes(4), 1, 0.0)
        assert len(limiter) <= MAX_SOURCES
    assert len(limiter) > MAX_SOURCES / 2


def test_sources_that_have_all_their_tokens_again_take_no_memory() -> None:
    limiter = SourceLimiter()
    for number in range(100_000):
        assert limiter.admits(number.to_bytes(4), 2, number / 1000)
    assert len(limiter) <= FEW_SOURCES


def test_a_flood_is_not_forgotten_among_many_others() -> None:
    limiter = SourceLimiter()
    admitted(limiter, EIGHTY, 10_000)
    for number in range(3000):
        assert limiter.admits(number.to_bytes(4), 2, number / 10_000)
    assert admitted(limiter, EIGHTY, 1, now=0.3) + admitted(limiter, EIGHTY, 10, now=0.3) <= 3
