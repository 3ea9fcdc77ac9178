"""`nhrpd` up to the moment when the daemon proper starts."""

import subprocess
import sys

import pytest
import structlog

from nhrpd_py import __version__
from nhrpd_py.cli import daemon, startup

GOOD = "[interface.gre1]\nnetwork-id = 1\n"


@pytest.fixture(autouse=True)
def _restore_structlog():
    yield
    structlog.reset_defaults()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nhrpd.toml"
    state = f'[daemon]\ncontrol-socket = "{tmp_path}/run/s"\nstate-directory = "{tmp_path}/state"\n'
    path.write_text(state + GOOD)
    return path


def test_a_good_file_passes_the_check_and_nothing_is_touched(file, capsys) -> None:
    assert daemon.main(["-c", str(file), "--check"]) == 0
    good, *notes = capsys.readouterr().out.splitlines()
    assert good == f"{file}: good"
    assert [note.partition(", ")[0] for note in notes] == [
        f"{file}: interface.gre1: note: without overlay"
    ]
    assert list(file.parent.iterdir()) == [file]


def test_the_check_tells_what_the_settings_leave_open(file, capsys) -> None:
    """Without rules peers are trusted; with rules and the cloud's addresses nothing is to be said."""
    file.write_text(file.read_text() + '[interface.gre1.ipsec]\nprofile = "dmvpn"\n')
    assert daemon.main(["-c", str(file), "--check"]) == 0
    assert "note: without rules, every peer" in capsys.readouterr().out
    rule = '[[interface.gre1.authorize]]\nidentity = "*.example"\n'
    text = file.read_text().replace("network-id", 'overlay = ["10.255.255.0/24"]\nnetwork-id')
    file.write_text(text + rule)
    assert daemon.main(["-c", str(file), "--check"]) == 0
    assert capsys.readouterr().out == f"{file}: good\n"


def test_a_bad_file_is_exit_2_with_every_error_and_nothing_is_touched(file, capsys) -> None:
    file.write_text(file.read_text() + "holding-time = 1\ncolour = 'red'\n")
    assert daemon.main(["-c", str(file)]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.splitlines()[0] == (
        f"{file}: interface.gre1.holding-time: must be 3..65535, not 1"
    )
    assert found.err.splitlines()[1].startswith(f"{file}: interface.gre1.colour: unknown key")
    assert list(file.parent.iterdir()) == [file]


def test_a_profile_that_cannot_be_used_fails_the_check_with_the_path_of_its_setting(
    file, capsys
) -> None:
    file.write_text(
        file.read_text() + '[interface.gre1.ipsec]\nprofile = "own"\n'
        '[profile.own]\nversion = 2\nchildren.own.mode = "tunnel"\n'
    )
    assert daemon.main(["-c", str(file), "--check"]) == 2
    assert capsys.readouterr().err == (
        f"{file}: interface.gre1.ipsec.profile: profile.own: child own needs mode = transport, "
        "not tunnel\n"
    )


def test_a_missing_file_is_exit_2_with_its_name(tmp_path, capsys) -> None:
    assert daemon.main(["-c", str(tmp_path / "none.toml")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/none.toml: No such file or directory\n"


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        ("000001ffffffffff", []),
        ("0000000000003000", []),
        ("0000000000001000", ["CAP_NET_RAW (to send and receive NHRP packets)"]),
        ("0000000000002000", ["CAP_NET_ADMIN (to program neighbours and routes)"]),
    ],
)
def test_missing_capabilities_are_read_from_the_effective_set(tmp_path, effective, missing) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t{effective}\nCapBnd:\t1\n")
    assert startup.missing_capabilities(str(status)) == missing


def test_without_privileges_it_is_one_line_naming_them_and_exit_1(
    file, capsys, monkeypatch
) -> None:
    lacking = ["CAP_NET_RAW (to send and receive NHRP packets)"]
    monkeypatch.setattr(startup, "missing_capabilities", lambda: lacking)
    assert daemon.main(["-c", str(file)]) == 1
    assert capsys.readouterr().err == (
        "nhrpd: cannot run without CAP_NET_RAW (to send and receive NHRP packets); "
        "start it as root\n"
    )
    assert list(file.parent.iterdir()) == [file]


def test_a_second_daemon_is_exit_1_with_the_reason(file, capfd, monkeypatch) -> None:
    from nhrpd_py.runtime.control.socket import ControlSocket  # noqa: PLC0415

    monkeypatch.setattr(startup, "missing_capabilities", list)
    first = ControlSocket(f"{file.parent}/run/s")
    assert daemon.main(["-c", str(file)]) == 1
    assert "another nhrpd (process " in capfd.readouterr().err
    first.close()


@pytest.mark.parametrize(
    "arguments", [["--log-level", "loud"], ["--log-format", "xml"], ["--colour"]]
)
def test_a_wrong_command_line_is_exit_2(arguments) -> None:
    with pytest.raises(SystemExit) as caught:
        daemon.main(arguments)
    assert caught.value.code == 2


def test_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nhrpd_py.cli.daemon", "--version"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == f"nhrpd {__version__}\n"


def test_closed_standard_descriptors_are_filled_and_bad_news_has_its_exit_status(file) -> None:
    file.write_text("x")
    script = f"{sys.executable} -m nhrpd_py.cli.daemon -c {file} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], check=False).returncode == 2


def test_without_proc_nothing_is_said_to_be_missing(tmp_path) -> None:
    assert startup.missing_capabilities(str(tmp_path / "none")) == []


def test_what_stops_the_start_is_an_error_in_the_journal(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert daemon.main(["-c", f"{tmp_path}/none.toml"]) == 2
    assert capsys.readouterr().err == f"<3>{tmp_path}/none.toml: No such file or directory\n"
