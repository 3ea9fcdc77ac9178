"""Any octets are a ``Message`` or ``BadPacket``."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.packet.wire import DropReason, internet_checksum
from tests.fuzz.packet_fuzzer import CORPUS, check, mutate

CODEC_REASONS = {
    DropReason.TRUNCATED,
    DropReason.BAD_VERSION,
    DropReason.UNKNOWN_TYPE,
    DropReason.UNSUPPORTED_ADDRESS_FAMILY,
    DropReason.BAD_PACKET_SIZE,
    DropReason.BAD_CHECKSUM,
    DropReason.BAD_EXTENSION_OFFSET,
    DropReason.BAD_ADDRESS_LENGTH,
    DropReason.BAD_CLIENT_INFORMATION,
    DropReason.BAD_EXTENSION,
    DropReason.DUPLICATE_EXTENSION,
    DropReason.EXTENSION_OVERRUN,
    DropReason.MISSING_CLIENT_INFORMATION,
}


@given(st.binary(max_size=300))
def test_random_octets(data: bytes) -> None:
    check(data)


@given(st.binary(min_size=28, max_size=300))
def test_random_octets_with_a_good_size_and_checksum(data: bytes) -> None:
    bare = b"\0\1\x08\0" + data[4:10] + len(data).to_bytes(2, "big") + b"\0\0" + data[14:]
    bare = bare[:16] + b"\1" + bare[17:]
    check(bare[:12] + internet_checksum(bare).to_bytes(2, "big") + bare[14:])


@pytest.mark.parametrize("data", CORPUS)
def test_every_beginning_of_a_packet(data: bytes) -> None:
    for length in range(28, len(data)):
        bare = data[:10] + length.to_bytes(2, "big") + b"\0\0" + data[14:length]
        check(bare[:12] + internet_checksum(bare).to_bytes(2, "big") + bare[14:])


def test_mutated_packets_reach_every_check_of_the_codec() -> None:
    rng = random.Random(2332)
    outcomes = Counter(check(mutate(rng.choice(CORPUS), rng)) for _ in range(20_000))

    assert CODEC_REASONS | {"decoded"} == outcomes.keys()
