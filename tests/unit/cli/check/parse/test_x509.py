"""Dates out of DER and PEM."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from nhrpd_py.cli.check.parse.x509 import NotX509Error, read_certificate, read_crl
from tests.unit.cli.check.certificates import a_certificate, a_crl

BEGINS = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENDS = [datetime(2049, 12, 31, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)]
GOOD = a_certificate(BEGINS, ENDS[0])


@pytest.mark.parametrize("ends", ENDS, ids=["UTCTime", "GeneralizedTime"])
@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_a_certificate(ends, encoding) -> None:
    found = read_certificate(a_certificate(BEGINS, ends, encoding=encoding))
    assert (found.not_before, found.not_after) == (BEGINS.timestamp(), ends.timestamp())
    assert found.name == "hub1"
    assert found.der[:1] == b"\x30"


def test_a_subject_without_common_name() -> None:
    assert read_certificate(a_certificate(BEGINS, ENDS[0], common=None)).name.startswith("without")


def test_a_crl() -> None:
    found = read_crl(a_crl(BEGINS, ENDS[0]))
    assert (found.name, found.not_before) == ("CA", BEGINS.timestamp())
    assert found.not_after == ENDS[0].timestamp()


@given(st.binary(max_size=200), st.integers(0, 200))
def test_anything_else_is_refused_and_nothing_worse(noise, cut) -> None:
    for data in (noise, GOOD[:cut] + noise):
        for read in (read_certificate, read_crl):
            try:
                read(data)
            except NotX509Error:
                continue
