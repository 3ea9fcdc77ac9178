"""What the daemon does not load, that nothing is missing for it, and how modules load late."""

import json
import os
import subprocess
import sys
import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, MethodType

import pytest

from nhrpd_py.runtime import late_imports
from nhrpd_py.runtime.late_imports import LATE, WITHOUT

REPOSITORY = Path(__file__).parents[3]
UNUSED = {
    "_bz2",
    "_lzma",
    "anyio._core._eventloop",
    "asyncio.events",
    "better_exceptions",
    "email.message",
    "h2.connection",
    "hpack",
    "html.entities",
    "hypercorn.trio.udp_server",
    "idna.core",
    "multiprocessing.context",
    "priority",
    "prometheus_client",
    "pyasn1",
    "pyasn1_modules",
    "pygments",
    "pyroute2.ipdb",
    "pyroute2.iproute",
    "pyroute2.ndb",
    "pyroute2.netlink.nlsocket",
    "rich",
    "socketserver",
    "sqlite3",
    "unittest",
    "urllib.request",
    "wsproto",
    "zipfile",
}
START = """
from nhrpd_py.cli.daemon import main
from nhrpd_py.runtime import late_imports
late_imports.install()
import nhrpd_py.cli.startup, nhrpd_py.runtime.app, nhrpd_py.runtime.control.http, nhrpd_py.runtime.logs
from nhrpd_py.config.load import parse
parse("[interface.gre1]\\nnetwork-id = 1\\n", "file")
"""
"""Loads what a daemon loads."""
SERVE = """
import socket, sys, tempfile, trio
from tests.unit.runtime.fake_daemon import a_daemon

async def serve(talk):
    with tempfile.TemporaryDirectory() as directory:
        async with a_daemon(f"{directory}/s") as daemon:
            stream = await trio.open_unix_socket(daemon.path)
            with trio.fail_after(20):
                await talk(stream)
"""
"""Defines `serve`: has a function talk to the control socket."""


def fresh(*parts: str) -> str:
    """Runs a program in an interpreter of its own; returns what it writes."""
    argv = [sys.executable, "-W", "error", "-c", "\n".join(parts)]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_daemon_does_not_use_is_not_loaded_while_it_answers_and_logs() -> None:
    said = fresh(
        START,
        SERVE,
        """
async def ask(stream):
    await stream.send_all(b"GET /v1/interfaces HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")

import structlog
for style in ("console", "json", "auto"):
    nhrpd_py.runtime.logs.configure("info", style)
    try:
        1 / 0
    except ZeroDivisionError:
        structlog.get_logger().exception("failed")
trio.run(serve, ask)
print("\\n".join(sys.modules))
""",
    )
    loaded = set(said.splitlines())
    assert {"pyroute2.netlink.rtnl.ifinfmsg", "hypercorn.protocol.h11", "pydantic"} <= loaded
    assert not UNUSED & loaded


def test_a_late_module_is_whole_once_it_is_asked_for() -> None:
    show = f"""
import importlib, json
names = {{}}
for path in {sorted(LATE)}:
    module = importlib.import_module(path)
    getattr(module, "no_such_name", None)
    names[path] = sorted(
        name for name, value in vars(module).items()
        if type(value) is not type(json) and name not in ("__loader__", "__spec__", "__cached__")
    )
print(json.dumps(names))
"""
    assert json.loads(fresh(START, show)) == json.loads(fresh(show))


@pytest.mark.parametrize("path", sorted(LATE))
def test_what_the_table_lists_is_there(path: str) -> None:
    spec = find_spec(path)
    assert spec is not None
    assert spec.origin is not None
    assert spec.origin.endswith(".py")
    for entry in LATE[path]:
        submodule, _, name = entry.rpartition(".")
        owner = import_module(f"{path}.{submodule}" if submodule else path)
        assert isinstance(getattr(owner, name), type | FunctionType | MethodType)
        assert getattr(import_module(path), name) == getattr(owner, name)


def test_pyroute2_is_whole_for_who_wants_more_of_it() -> None:
    fresh(
        START,
        """
import sys, pyroute2
from pyroute2 import IPRoute, config, netns
assert "pyroute2.ndb" in sys.modules
assert config is sys.modules["pyroute2.config"]
assert pyroute2.NDB.__module__ == "pyroute2.ndb.main"
""",
    )


def test_what_a_client_needs_is_loaded_for_it() -> None:
    fresh(
        START,
        SERVE,
        """
assert not {"wsproto", "prometheus_client"} & sys.modules.keys()

async def ask_for_a_websocket(stream):
    await stream.send_all(
        b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n"
        b"Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n"
    )
    assert (await stream.receive_some()).startswith(b"HTTP/1.1 403")

async def scrape(stream):
    await stream.send_all(b"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    assert b"nhrpd_uptime_seconds" in b"".join([part async for part in stream])

for talk in (ask_for_a_websocket, scrape):
    trio.run(serve, talk)
assert {"wsproto", "prometheus_client"} <= sys.modules.keys()
assert "h2.connection" not in sys.modules
""",
    )


# The mechanism.


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable, late package whose code counts how often it ran."""
    path = tmp_path / "a_late_package"
    path.mkdir()
    (path / "__init__.py").write_text(
        "import builtins\nbuiltins.late_runs += 1\n"
        "from .part import VALUE\n"
        "def double(number):\n    return 2 * number\n"
    )
    (path / "part.py").write_text("VALUE = 7\ndef triple(number):\n    return 3 * number\n")
    entries = {"a_late_package": ("double", "part.triple")}
    monkeypatch.setattr(late_imports, "LATE", entries)
    monkeypatch.setattr(late_imports, "WITHOUT", {"a_late_package.part": ("colorsys", "json")})
    monkeypatch.setattr("builtins.late_runs", 0, raising=False)
    monkeypatch.setattr(sys, "meta_path", [late_imports._Finder, *sys.meta_path])
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("a_late_package", "a_late_package.part"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    return path


def runs() -> int:
    import builtins  # noqa: PLC0415

    return builtins.late_runs  # type: ignore[attr-defined]


def test_the_code_runs_when_a_name_is_asked_for(package) -> None:
    module = import_module("a_late_package")
    assert runs() == 0
    assert module.VALUE == 7
    assert runs() == 1
    assert "__getattr__" not in vars(module)
    with pytest.raises(AttributeError):
        _ = module.nothing
    assert runs() == 1


def test_a_stand_in_runs_the_code_when_it_is_called(package) -> None:
    stand_in = import_module("a_late_package").double
    assert runs() == 0
    assert stand_in(4) == 8
    assert import_module("a_late_package").double is not stand_in
    assert stand_in(5) == 10
    assert runs() == 1


def test_submodules_and_names_of_them_leave_the_package_empty(package) -> None:
    module = import_module("a_late_package")
    assert module.part.VALUE == 7
    assert module.triple(3) == 9
    assert runs() == 0


def test_code_that_fails_fails_for_everybody_who_asks(package) -> None:
    (package / "__init__.py").write_text(
        "import builtins\nbuiltins.late_runs += 1\nimport nothing\n"
    )
    module = import_module("a_late_package")
    for attempt in (1, 2):
        with pytest.raises(ModuleNotFoundError, match="nothing"):
            _ = module.VALUE
        assert runs() == attempt


def test_a_submodule_that_lacks_something_says_so(package) -> None:
    (package / "part.py").write_text("import nothing\n")
    with pytest.raises(ModuleNotFoundError, match="'nothing'"):
        _ = import_module("a_late_package").part


def test_code_that_asks_its_own_module_in_vain_is_told_so(package) -> None:
    (package / "__init__.py").write_text("from a_late_package import absent\n")
    with pytest.raises(ImportError, match="absent"):
        _ = import_module("a_late_package").VALUE


def test_code_that_has_an_answer_of_its_own_keeps_it(package) -> None:
    (package / "__init__.py").write_text("def __getattr__(name):\n    return name.upper()\n")
    assert import_module("a_late_package").some == "SOME"


def test_threads_that_ask_together_wait_for_one_run(package) -> None:
    (package / "__init__.py").write_text(
        "import builtins, time\ntime.sleep(0.05)\nbuiltins.late_runs += 1\nVALUE = 7\n"
    )
    module = import_module("a_late_package")
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(module.VALUE)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [7] * 4
    assert runs() == 1


def test_a_library_is_hidden_unless_it_is_loaded_and_only_meanwhile(package, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    (package / "part.py").write_text(
        "try:\n    import colorsys\nexcept ImportError:\n    colorsys = None\nimport json\n"
    )
    part = import_module("a_late_package.part")
    assert part.colorsys is None
    assert part.json is json
    assert import_module("colorsys").__name__ == "colorsys"


def test_what_is_no_file_of_python_code_is_left_alone(package, monkeypatch) -> None:
    monkeypatch.setattr(late_imports, "LATE", {"math": (), "nowhere_to_be_found": ()})
    monkeypatch.delitem(sys.modules, "math")
    assert import_module("math").sqrt(4) == 2
    with pytest.raises(ModuleNotFoundError):
        import_module("nowhere_to_be_found")


def test_the_finder_is_installed_once(monkeypatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    monkeypatch.setenv("PYDANTIC_DISABLE_PLUGINS", "mine")
    late_imports.install()
    late_imports.install()
    assert sys.meta_path.count(late_imports._Finder) == 1
    assert os.environ["PYDANTIC_DISABLE_PLUGINS"] == "mine"


def test_the_libraries_that_are_hidden_are_those_that_are_tried() -> None:
    for path, libraries in WITHOUT.items():
        spec = find_spec(path)
        assert spec is not None
        assert spec.origin is not None
        code = Path(spec.origin).read_text()
        for library in libraries:
            assert f"import {library}" in code
