"""The template as the real swanctl reads it, and swanctls that misbehave."""

import errno
import gc
import os
import shutil
import sys
from pathlib import Path

import pytest
import trio

from nhrpd_py.runtime.vici.profiles import swanctl
from nhrpd_py.runtime.vici.profiles.swanctl import SwanctlReader, fingerprint_of, read_swanctl

pytestmark = pytest.mark.skipif(shutil.which("swanctl") is None, reason="no swanctl here")

CONNECTION = """
connections {
  base { version = 2
    proposals = aes256-sha512-ecp384, aes128-sha256-x25519 }
  dmvpn : connections.base {
    local { auth = psk
      id = "spoke1.vpn.example" }
    remote { auth = psk }
    children { dmvpn { mode = transport
      local_ts = dynamic[gre] } }
  }
}
"""


async def test_all_connections_come_as_charon_would_get_them(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.conf").write_text(CONNECTION)
    (tmp_path / "swanctl.conf").write_text("include conf.d/*.conf\n")
    template = await read_swanctl(str(tmp_path / "swanctl.conf"))
    assert template.problem is None
    assert set(template.connections) == {"base", "dmvpn"}
    dmvpn = template.connections["dmvpn"]
    assert dmvpn["proposals"] == [b"aes256-sha512-ecp384", b"aes128-sha256-x25519"]
    assert dmvpn["local"] == {"auth": b"psk", "id": b"spoke1.vpn.example"}
    assert dmvpn["children"]["dmvpn"]["local_ts"] == [b"dynamic[gre]"]


async def test_certificates_come_with_it_and_a_missing_one_is_named(tmp_path: Path) -> None:
    config = tmp_path / "swanctl.conf"
    config.write_text("connections { a { local { certs = me.pem\n } }\n b { version = 2\n } }\n")
    template = await read_swanctl(str(config))
    assert template.problem is not None
    assert "me.pem" in template.problem
    assert "No such file" in template.problem
    assert set(template.connections) == {"b"}
    (tmp_path / "x509").mkdir()
    (tmp_path / "x509" / "me.pem").write_bytes(b"the certificate")
    template = await read_swanctl(str(config))
    assert template.connections["a"]["local"]["certs"] == [b"the certificate"]


async def test_a_syntax_error_is_told_in_the_words_of_swanctl(tmp_path: Path) -> None:
    config = tmp_path / "swanctl.conf"
    config.write_text("connections {\n  dmvpn = = {\n")
    template = await read_swanctl(str(config))
    assert template.connections == {}
    assert template.problem is not None
    assert "syntax error" in template.problem
    assert str(config) in template.problem


async def test_a_mended_file_is_read_again_by_itself(tmp_path: Path) -> None:
    config = tmp_path / "swanctl.conf"
    now = [0.0]
    reader = SwanctlReader(str(config), clock=lambda: now[0])
    missing = await reader.get()
    assert missing.problem is not None
    config.write_text(CONNECTION)
    now[0] += 2.1
    assert "dmvpn" in (await reader.get()).connections
    reads = reader.reads
    now[0] += 2.1
    await reader.get()
    assert reader.reads == reads  # nothing changed
    config.write_text(CONNECTION.replace("dmvpn", "other"))
    now[0] += 2.1
    assert "other" in (await reader.get()).connections


def script(path: Path, body: str) -> str:
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return str(path)


async def test_a_swanctl_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nhrpd_py.runtime.vici.profiles.swanctl.DEADLINE_S", 1.0)
    pid = tmp_path / "pid"
    body = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    template = await read_swanctl("/x", script(tmp_path / "swanctl", body))
    assert template.problem is not None
    assert "did not end within 1 s" in template.problem
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_endless_complaints_are_cut(tmp_path: Path) -> None:
    body = "import sys\nsys.stderr.write('no\\n' * 1000000)\nsys.exit(3)"
    template = await read_swanctl("/x", script(tmp_path / "swanctl", body))
    assert template.problem is not None
    assert len(template.problem) < 2000


async def test_what_swanctl_says_of_its_plugins_is_no_fault_of_the_file(tmp_path: Path) -> None:
    said = (
        "agent plugin requires CAP_DAC_OVERRIDE capability\n"
        "plugin 'agent': failed to load - agent_plugin_create returned NULL\n"
        "loaded 1 of 1 connections\n"
    )
    body = f"import sys\nsys.stderr.write({said!r})"
    template = await read_swanctl("/x", script(tmp_path / "swanctl", body))
    assert template.problem is None


async def test_the_socket_is_where_swanctl_may_go_and_for_nobody_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    note = tmp_path / "note"
    body = (
        "import os, sys\npath = os.path.dirname(sys.argv[3].removeprefix('unix://'))\n"
        f"open({str(note)!r}, 'w').write(f'{{path}} {{os.stat(path).st_mode:o}}')"
    )
    reader = SwanctlReader("/x", script(tmp_path / "swanctl", body), directory=run)
    await reader.get()
    path, mode = note.read_text().split()
    assert (Path(path).parent, mode) == (run, "40700")
    assert list(run.iterdir()) == []
    # A directory that we may not write in is none.
    await SwanctlReader("/x", script(tmp_path / "swanctl", body), directory=tmp_path / "none").get()
    assert (tmp_path / "none") not in Path(note.read_text().split()[0]).parents


async def test_no_swanctl_at_all(tmp_path: Path) -> None:
    template = await read_swanctl("/x", str(tmp_path / "none"))
    assert template.problem is not None
    assert "install strongswan-swanctl" in template.problem


async def test_a_read_that_is_given_up_leaves_nothing_open(tmp_path: Path) -> None:
    config = tmp_path / "swanctl.conf"
    config.write_text(CONNECTION)
    for milliseconds in range(0, 30, 3):
        with trio.move_on_after(milliseconds / 1000):
            await read_swanctl(str(config))
        gc.collect()  # what was not closed complains now


async def test_descriptors_that_run_out_cost_nothing_but_time(tmp_path: Path, monkeypatch) -> None:
    config = tmp_path / "swanctl.conf"
    config.write_text(CONNECTION)
    accept = trio.SocketListener.accept
    failures = [OSError(errno.EMFILE, "Too many open files")] * 2

    async def unwilling(listener):
        if failures:
            raise failures.pop()
        return await accept(listener)

    monkeypatch.setattr(trio.SocketListener, "accept", unwilling)
    template = await read_swanctl(str(config))
    assert template.problem is None
    assert set(template.connections) == {"base", "dmvpn"}
    monkeypatch.setattr(swanctl, "DEADLINE_S", 0.5)
    failures += [OSError(errno.EMFILE, "Too many open files")] * 100
    template = await read_swanctl(str(config))
    assert template.problem == "swanctl cannot be heard: Too many open files"


def test_an_editors_lock_hides_no_change(tmp_path: Path) -> None:
    """As Emacs makes them: a symbolic link that leads nowhere."""
    for number in range(20):
        (tmp_path / f".#lock{number}.conf").symlink_to("me@here.1:2")
    file = tmp_path / "swanctl.conf"
    for number in range(20):
        (tmp_path / f"{number}.conf").write_text("a")
    file.write_text("a")
    before = fingerprint_of(str(file))
    for changed in (file, *(tmp_path / f"{number}.conf" for number in range(20))):
        changed.write_text("ab")
        after = fingerprint_of(str(file))
        assert after != before
        before = after
