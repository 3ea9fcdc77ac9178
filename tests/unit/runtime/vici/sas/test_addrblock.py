"""Address blocks of certificates that strongSwan's `pki` made."""

from pathlib import Path

import pytest

from nhrpd_py.runtime.vici.sas.addrblock import address_blocks
from nhrpd_py.runtime.vici.sas.certificates import common
from tests.unit.runtime.vici.certificates import certificate, needs_pki, prefix


@needs_pki
def test_prefixes_and_ranges_of_both_families(tmp_path: Path) -> None:
    octets = certificate(
        tmp_path, "10.1.0.0/16", "192.0.2.4-192.0.2.11", "2001:db8:1::/48", "10.9.9.9/32"
    )
    assert set(address_blocks(octets) or ()) == {
        prefix("10.1.0.0/16"),
        prefix("10.9.9.9/32"),
        prefix("192.0.2.4/30"),
        prefix("192.0.2.8/30"),
        prefix("2001:db8:1::/48"),
    }


@needs_pki
def test_a_certificate_without_blocks(tmp_path: Path) -> None:
    assert address_blocks(certificate(tmp_path)) is None


@needs_pki
def test_what_is_no_certificate(tmp_path: Path) -> None:
    octets = certificate(tmp_path, "10.1.0.0/16")
    for cut in range(0, len(octets), 7):
        with pytest.raises(ValueError, match="certificate"):
            address_blocks(octets[:cut])


def test_several_certificates_grant_what_all_of_them_do() -> None:
    wide, narrow, other = prefix("10.0.0.0/8"), prefix("10.1.0.0/16"), prefix("172.16.0.0/12")
    assert common([(wide, other), (narrow,)]) == (narrow,)
    assert common([(wide,), None]) is None
    assert common([(wide,), (other,)]) == ()
