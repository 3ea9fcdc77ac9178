"""The source filter from inside the unit's sandbox, as the user nhrpd: with nft, and with iptables of both kinds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.lab.charon import load_modules
from tools.lab.namespace import wait_until
from tools.lab.units import install, machine, run

pytestmark = pytest.mark.systemd

CONFIGURATION = """
[interface.gre9]
network-id = 9
source-filter = true
[interface.gre9.ipsec]
profile = "dmvpn"
"""
PROGRAMS = Path("/opt/nhrpd-programs")
DROP_IN = Path("/run/systemd/system/nhrpd.service.d/programs.conf")


@pytest.fixture(scope="module", autouse=True)
def _installed() -> Iterator[None]:
    install()
    load_modules()
    run("ip", "tunnel", "add", "gre9", "mode", "gre", "key", "9", "local", "127.0.0.1")
    run("ip", "address", "add", "10.99.0.1/32", "dev", "gre9")
    run("ip", "link", "set", "gre9", "up")
    yield
    run("ip", "link", "del", "gre9")


@pytest.fixture(params=["nft", "iptables-nft", "iptables-legacy"])
def listing(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The daemon finds one program alone; yields the command that lists what that has written."""
    if request.param == "nft":
        yield ["nft", "list", "ruleset"]
        return
    PROGRAMS.mkdir(exist_ok=True)
    for command in ("iptables", "ip6tables"):
        kind = request.param.replace("iptables", command)
        for what in ("save", "restore"):
            link = PROGRAMS / f"{command}-{what}"
            link.unlink(missing_ok=True)
            link.symlink_to(f"/usr/sbin/{kind}-{what}")
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(f"[Service]\nEnvironment=PATH={PROGRAMS}:/usr/local/bin:/usr/bin\n")
    run("systemctl", "daemon-reload")
    yield [f"{request.param}-save", "-t", "mangle"]
    DROP_IN.unlink()
    run("systemctl", "daemon-reload")


def test_the_filter_is_written_kept_and_removed_inside_the_sandbox(listing: list[str]) -> None:
    def written() -> bool:
        return "gre9" in run(*listing).stdout

    with machine(CONFIGURATION) as unit:
        assert not written()
        unit.do("start")
        wait_until(written, 30, "the filter")
        if listing[0] == "nft":
            run("nft", "flush", "ruleset")
        else:
            run(listing[0].removesuffix("-save"), "-t", "mangle", "-F")
        wait_until(written, 30, "the filter again")
        unit.do("stop")
        assert not written()
