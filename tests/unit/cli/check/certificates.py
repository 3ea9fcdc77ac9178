"""Certificates and lists made by a library that knows nothing of ours."""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

KEY = ec.generate_private_key(ec.SECP256R1())


def a_name(common: str | None) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "strongSwan")
    named = [] if common is None else [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    return x509.Name([organisation, *named])


def a_certificate(
    begins: datetime,
    ends: datetime,
    *,
    common: str | None = "hub1",
    encoding: Encoding = Encoding.DER,
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(a_name(common))
        .issuer_name(a_name("CA"))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    return builder.sign(KEY, hashes.SHA256()).public_bytes(encoding)


def a_crl(made: datetime, due: datetime) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(a_name("CA"))
    builder = builder.last_update(made).next_update(due)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
