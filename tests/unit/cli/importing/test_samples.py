"""What holds for every configuration that is imported, whichever system it is from."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nhrpd_py.config.load import parse
from tests.unit.cli.importing.imports import ALL_SAMPLES, SAMPLES, SYSTEMS, imported

SECRETS = (
    *("pa55word", "branch1", "sesame60", "test123", "nhrp7key", "cisco70", "HQkey", "v6words"),
    *(
        "lab1",
        "K3yOfAllBranches",
        "hub-and-spoke-key",
        "only-77",
        "between-branches",
        "bgp-between-us",
    ),
    *("new-secret-word", "seventh heaven", "AABBCCDDEEFF", "0822455D0A16", 'open "this" \\door'),
    *("ops-password", "line-password", "not-for-you", "$6$rounds", "$1$abcd"),
)
"""All that is secret in the samples."""
IDS = [f"{path.parent.name}-{path.stem}" for path in ALL_SAMPLES]


@pytest.mark.parametrize("system", SYSTEMS)
def test_there_are_five_configurations_of_each_system(system: str) -> None:
    assert sum(path.parent.name == system for path in ALL_SAMPLES) >= 5


@pytest.mark.parametrize("path", ALL_SAMPLES, ids=IDS)
def test_what_is_made_is_right(path: Path) -> None:
    """The daemon's own loader takes every file that is made, whether the system was told or found."""
    found = imported(path)
    assert found.config().interfaces
    told = imported(path, told=path.parent.name)
    assert told.files == found.files


@pytest.mark.parametrize("path", ALL_SAMPLES, ids=IDS)
def test_secrets_are_in_no_comment_and_in_no_report(path: Path) -> None:
    result = imported(path)
    remarks = result.remarks()
    assert [secret for secret in SECRETS if secret in remarks] == []
    for name, text in result.files.items():
        has = any(secret in text for secret in SECRETS) or 'secret = "open' in text
        assert (name in result.secret) == has, name


@pytest.mark.parametrize("path", ALL_SAMPLES, ids=IDS)
def test_no_line_about_nhrp_is_passed_over_in_silence(path: Path) -> None:
    """Each is carried over, and its number is in a comment or follows from it, or it has a reason."""
    result = imported(path)
    aside = re.findall(r"Left aside.*\n  lines? (.*)", result.report)
    numbers: set[int] = set()
    for span in ", ".join(aside).split(", "):
        low, _, high = span.partition("–")
        if low:
            numbers |= set(range(int(low), int(high or low) + 1))
    lines = path.read_text().splitlines()
    assert [lines[each - 1] for each in numbers if "nhrp" in lines[each - 1]] in ([], ["nhrp {"])


@pytest.mark.parametrize("path", ALL_SAMPLES, ids=IDS)
def test_silent_differences_are_written_out(path: Path) -> None:
    text = imported(path).files["nhrpd.toml"]
    tables = text.count("\n[interface.") - text.count(".ipsec]")
    for key in ("network-id", "holding-time", "shortcut", "redirect"):
        assert len(re.findall(rf"^{key} = ", text, re.MULTILINE)) == tables
    assert text.count("# NAT: nothing to set.") == tables
    assert text.count("# Registrations are renewed after a third") == tables


@pytest.mark.skipif(shutil.which("vtysh") is None, reason="no FRR here")
@pytest.mark.parametrize("path", [*ALL_SAMPLES, SAMPLES / "guide.txt"], ids=lambda path: path.stem)
def test_frr_knows_every_line_that_is_made_for_it(path: Path, tmp_path: Path) -> None:
    for name, text in imported(path).files.items():
        if name.startswith("frr"):
            (tmp_path / name).write_text(text)
            done = subprocess.run(
                ["vtysh", "--dryrun", "--inputfile", str(tmp_path / name)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", ["ifupdown", "networkd", "ip"])
def test_the_netdev_is_made_as_wanted(kind: str) -> None:
    files = imported(SAMPLES / "vyos/old-hub.set", tunnel=kind).files
    if kind == "ip":
        script = files["tunnel-tun100.sh"]
        assert "ip tunnel add tun100 mode gre key 60 ttl 64 local 203.0.113.5\n" in script
        assert "ip address add 10.60.0.1/24 dev tun100\n" in script
        subprocess.run(["sh", "-n", "/dev/stdin"], input=script.encode(), check=True)
    elif kind == "ifupdown":
        text = files["ifupdown-tun100"]
        assert "iface tun100 inet static\n" in text
        assert "    address 10.60.0.1\n    netmask 255.255.255.0\n" in text
    else:
        assert "Key=60\n" in files["systemd-networkd-tun100.netdev"]
        assert "Remote=any\n" in files["systemd-networkd-tun100.netdev"]
        assert "Address=10.60.0.1/24\n" in files["systemd-networkd-tun100.network"]


def test_a_hub_gets_the_rule_that_samples_in_its_own_group() -> None:
    files = imported(SAMPLES / "frr/hub-bgp.conf").files
    (rule,) = (line for line in files["iptables.rules"].splitlines() if "NFLOG" in line)
    sample = Path("etc/iptables-hub.rules").read_text()
    (wanted,) = (line for line in sample.splitlines() if line.startswith("-I FORWARD"))
    assert rule == wanted.replace("--nflog-group 1", "--nflog-group 5")
    assert "redirect-group = 5" in files["nhrpd.toml"]
    assert "iptables.rules" not in imported(SAMPLES / "frr/dual-stack.conf").files


def test_settings_that_are_made_are_in_the_schema_whatever_is_imported() -> None:
    for path in ALL_SAMPLES:
        parse(imported(path).files["nhrpd.toml"], path.name)
