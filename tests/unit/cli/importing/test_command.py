"""`nhrpctl import` as its user meets it: output, files, exit status."""

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nhrpd_py.cli import ctl
from nhrpd_py.cli.importing import write
from nhrpd_py.config.load import load
from tests.unit.cli.importing.imports import SAMPLES

HUB = str(SAMPLES / "vyos/old-hub.set")
SPOKE = str(SAMPLES / "opennhrp/spoke.conf")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `nhrpctl import` as `main` does; returns its exit status and what it printed."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nhrpctl", "import", *arguments])
        with pytest.raises(SystemExit) as end:
            ctl.main()
        found = capsys.readouterr()
        return int(end.value.code or 0), found.out, found.err

    return call


def files_in(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def test_it_prints_everything_as_one_text(run) -> None:
    status, out, err = run(HUB)
    assert (status, err) == (0, "")
    heads = [line for line in out.splitlines() if line.startswith("# ────")]
    assert [head.split()[2] for head in heads] == [
        "nhrpd.toml",
        "tunnel-tun100.sh",
        "swanctl.conf",
        "iptables.rules",
    ]
    assert 'multicast = ["dynamic"]' in out
    _, out, _ = run(str(SAMPLES / "frr/ospf-vrf.conf"))
    assert "# Not carried over:\n" in out


def test_standard_input_is_a_file_as_well() -> None:
    text = Path(SPOKE).read_text()
    done: Result = CliRunner().invoke(ctl.cli, ["import", "-", "--from", "opennhrp"], input=text)
    assert done.exit_code == 0
    assert "[interface.gre1]" in done.output


def test_files_are_written_and_secrets_are_for_their_owner_alone(run, tmp_path) -> None:
    old = os.umask(0)
    try:
        status, out, _ = run(HUB, "--output", str(tmp_path / "new"))
    finally:
        os.umask(old)
    assert status == 0
    assert files_in(tmp_path / "new") == {
        "nhrpd.toml": 0o600,
        "swanctl.conf": 0o600,
        "tunnel-tun100.sh": 0o644,
        "iptables.rules": 0o644,
        "not-carried-over.txt": 0o644,
    }
    assert load(tmp_path / "new/nhrpd.toml").interfaces["tun100"].redirect
    assert f"{tmp_path}/new/nhrpd.toml → /etc/nhrpd/nhrpd.toml" in out
    assert "sesame60" not in out


def test_nothing_is_replaced_without_force(run, tmp_path) -> None:
    (tmp_path / "swanctl.conf").write_text("mine")
    status, out, err = run(HUB, "--output", str(tmp_path))
    assert (status, out) == (1, "")
    assert "swanctl.conf already: nothing was written" in err
    assert list(files_in(tmp_path)) == ["swanctl.conf"]
    (tmp_path / "swanctl.conf").chmod(0o644)
    status, _, _ = run(HUB, "--output", str(tmp_path), "--force")
    assert status == 0
    assert files_in(tmp_path)["swanctl.conf"] == 0o600  # also where it was open before
    assert "mine" not in (tmp_path / "swanctl.conf").read_text()


def test_a_link_is_replaced_and_not_followed(run, tmp_path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    target = tmp_path / "out"
    target.mkdir()
    (target / "nhrpd.toml").symlink_to(victim)
    assert run(HUB, "--output", str(target))[0] == 1
    assert run(HUB, "--output", str(target), "--force")[0] == 0
    assert victim.read_text() == "untouched"


def test_a_full_disk_leaves_nothing_half_written(run, tmp_path, monkeypatch) -> None:
    real = write._beside

    def fails_late(directory, output):
        if output.name.startswith("iptables"):
            raise OSError(28, "No space left on device")
        return real(directory, output)

    monkeypatch.setattr(write, "_beside", fails_late)
    status, _, err = run(HUB, "--output", str(tmp_path))
    assert status == 1
    assert "No space left on device" in err
    assert files_in(tmp_path) == {}


def test_a_file_that_appears_meanwhile_is_not_replaced(run, tmp_path, monkeypatch) -> None:
    real = os.link

    def late(source, target):
        if target.name == "iptables.rules":
            target.write_text("another's")
        real(source, target)

    monkeypatch.setattr(os, "link", late)
    assert run(HUB, "--output", str(tmp_path))[0] == 1
    assert list(files_in(tmp_path)) == ["iptables.rules"]
    assert (tmp_path / "iptables.rules").read_text() == "another's"


def test_bad_input_is_exit_2_and_nothing_is_written(run, tmp_path) -> None:
    bad = tmp_path / "bad.conf"
    bad.write_bytes(b"interface gre1\n ip nhrp network-id 1\n ip nhrp authentication \xff\n")
    status, out, err = run(str(bad), "--output", str(tmp_path / "out"))
    assert (status, out) == (2, "")
    assert err.startswith(f"nhrpctl: {bad}: line 3: it is not UTF-8")
    assert not (tmp_path / "out").exists()


def test_there_is_no_json_of_files(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["nhrpctl", "--json", "import", HUB])
    with pytest.raises(SystemExit) as end:
        ctl.main()
    assert end.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("arguments", [(), (HUB, "--from", "junos"), (HUB, "--tunnel", "netplan")])
def test_wrong_usage_is_exit_2(run, arguments) -> None:
    assert run(*arguments)[0] == 2
