"""Which daemon is asked, and what becomes of answers that lack something."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from nhrpd_py import __version__
from nhrpd_py.cli.check.facts import DaemonFacts
from nhrpd_py.cli.check.findings import Unread
from nhrpd_py.cli.check.read import machine, reader
from nhrpd_py.core.rows import InterfaceRow

Serve = Callable[..., str]
WHOLE = {each.name: None for each in fields(InterfaceRow)}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Answers for a daemon: every view is empty but those given. Returns the socket."""
    with ExitStack() as stack:

        def start(**views: object) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    name = self.path.rpartition("/")[2]
                    said = {"version": "0.0.1"} if name == "status" else {name: views.get(name, [])}
                    body = json.dumps(said).encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name)
                    pass

            path = str(tmp_path / "nhrpd.sock")
            server = stack.enter_context(ThreadingUnixStreamServer(path, Handler))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            return path

        yield start


def test_a_daemon_of_another_version_that_tells_less(serve: Serve) -> None:
    found = reader._daemon(serve(interfaces=[{"interface": "gre1", "up": True}]))
    assert isinstance(found, Unread)
    assert found.why.startswith(
        f"the running daemon is 0.0.1, and does not tell nhrpctl {__version__}"
    )
    assert found.remedy == "systemctl restart nhrpd"


def test_a_daemon_that_tells_more_is_fine(serve: Serve) -> None:
    assert isinstance(reader._daemon(serve(interfaces=[WHOLE | {"more": 1}])), DaemonFacts)


def test_the_socket_is_that_of_the_default_file(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nhrpd.toml"
    path = serve()
    file.write_text(f'[daemon]\ncontrol-socket = "{path}"\n[interface.gre1]\nnetwork-id = 1\n')
    monkeypatch.setattr(reader, "CONFIG_FILE", str(file))
    monkeypatch.setattr(reader, "CONTROL_SOCKET", str(tmp_path / "none.sock"))
    # whoever answers here was started as pytest was, whose options are not those of nhrpd
    monkeypatch.setattr(reader, "_file_of", lambda _process: None)
    facts = reader.read_facts(None, None)
    assert (facts.socket, isinstance(facts.daemon, DaemonFacts)) == (path, True)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/run/nhrpd/nhrpd.sock", "nhrpd"),
        ("/run/nhrpd/site/nhrpd.sock", "nhrpd@site"),
        ("/var/run/nhrpd/site/nhrpd.sock", "nhrpd@site"),
        ("/tmp/site/nhrpd.sock", "nhrpd"),
    ],
)
def test_the_unit_is_known_by_its_socket(path: str, unit: str) -> None:
    assert reader.unit_of(path) == unit


def test_a_locale_without_arrows_is_no_reason_to_end(tmp_path: Path) -> None:
    file = tmp_path / "nhrpd.toml"
    socket = tmp_path / "none.sock"
    file.write_text(f'[daemon]\ncontrol-socket = "{socket}"\n[interface.gre1]\nnetwork-id = 1\n')
    done = subprocess.run(
        [sys.executable, "-m", "nhrpd_py.cli.ctl", "check", "-c", str(file)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"? systemctl start nhrpd" in done.stdout


@pytest.mark.parametrize(
    ("saved", "ruleset"),
    [
        ("*filter\n:\nCOMMIT\n", {}),
        ("*filter\n-A INPUT -j NFLOG --nflog-group many\nCOMMIT\n", {}),
        ("", {"nftables": [{"chain": {"hook": "input"}}]}),
        ("", {"nftables": [{"rule": None}, {"rule": {"family": "ip"}}]}),
        ("", {"nftables": 7}),
        ("", {"nftables": ["odd"]}),
    ],
)
def test_rules_that_nobody_understands_are_told_and_judged_by_nobody(
    saved: str, ruleset: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "is_root", lambda: True)
    monkeypatch.setattr(machine, "_saved", lambda: [("iptables", saved)])
    monkeypatch.setattr(machine, "json_of", lambda *_argv: ruleset)
    found = machine.read_firewall()
    assert isinstance(found.rules, Unread)
    assert "are not understood" in found.rules.why
    assert not found.chains
