"""Certificates with address blocks, made by strongSwan's `pki`."""

import shutil
import subprocess
from pathlib import Path

import pytest

from nhrpd_py.core.address import Prefix, parse_address

needs_pki = pytest.mark.skipif(shutil.which("pki") is None, reason="no pki here")


def prefix(text: str) -> Prefix:
    address, _, length = text.partition("/")
    return Prefix(parse_address(address), int(length))


def certificate(directory: Path, *blocks: str) -> bytes:
    key = directory / "key.der"
    key.write_bytes(
        subprocess.run(["pki", "--gen", "--type", "ecdsa"], check=True, capture_output=True).stdout
    )
    options = [word for block in blocks for word in ("--addrblock", block)]
    made = subprocess.run(
        ["pki", "--self", "--in", key, "--type", "ecdsa", "--dn", "CN=spoke1", *options],
        check=True,
        capture_output=True,
    )
    return made.stdout
