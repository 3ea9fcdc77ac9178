"""Keeps modules unloaded that the libraries import and the daemon does not use: saves a third of
its memory, and two fifths of the time of its start.

`install`, called before the libraries are imported, puts a finder in front of Python's own. Two
tables say which modules it treats differently:

- A module of `LATE` is imported empty. Its code runs at the first access to one of its attributes,
  and from then on it is an ordinary module. `from MODULE import NAME` is such an access; for names
  that are called later, or never, it gives a stand-in that loads the module when it is called.
  Submodules do not load their package: `pyroute2.netlink` needs nothing of what
  `pyroute2/__init__.py` imports.
- A module of `WITHOUT` is loaded as if an optional library were not installed.

So no function is missing: a scrape for Prometheus gets its answer, and the code for it is loaded
meanwhile. If another version of a library uses further names, the module
is loaded at once; if the library no longer has the module, the entry has no effect; both only cost
memory. What would break is a library that derives a class from a stand-in, or uses it in
`isinstance`: a TypeError. The tests load all that the daemon loads, check that it is no more than
that, and then use each entry.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from threading import RLock
from types import ModuleType
from typing import Any, Literal, cast

LATE: Mapping[str, Sequence[str]] = {
    # Databases, sockets of all kinds, asyncio; we use message classes of `pyroute2.netlink.rtnl`.
    "pyroute2": (),
    # HTTP/2, which `control.http` does not speak, and WebSocket.
    "hypercorn.protocol.h2": ("H2Protocol",),
    "hypercorn.protocol.ws_stream": ("WSStream",),
    "h2.events": (),
    # Hypercorn's main loop and the files that configure its log; we have our own.
    "hypercorn.trio": (),
    "logging.config": ("dictConfig", "fileConfig"),
    # An event loop: structlog can log in one, Starlette asks what a coroutine function is.
    "asyncio": ("coroutines.iscoroutinefunction",),
    # Cookies and their dates, tracebacks for browsers.
    "http.cookies": (),
    "email.utils": ("format_datetime", "formatdate"),
    "html": (),
    # The reason phrases of HTTP statuses; the parser of e-mail comes with them.
    "http.client": (),
    # Starlette's work in threads and with files.
    "anyio": (),
    "anyio.abc": (),
    "anyio.to_thread": (),
    # TLS over UDP, and host names that are not ASCII.
    "trio._dtls": ("DTLSChannel", "DTLSChannelStatistics", "DTLSEndpoint"),
    "idna": (),
    # Several processes, of which pyroute2 and Hypercorn know.
    "multiprocessing": ("Pipe", "Process", "Queue"),
    "multiprocessing.synchronize": ("Event",),
    # Archives; `shutil` can make them.
    "bz2": (),
    "lzma": (),
    # Where pydantic looks for plugins.
    "importlib.metadata": ("entry_points", "version"),
}
"""Module → the names that other modules import from it. Each has a stand-in; `submodule.name` is
taken from that submodule."""
WITHOUT: Mapping[str, Sequence[str]] = {
    # Coloured tracebacks, with the values of variables, which may be secrets.
    "structlog.dev": ("rich", "better_exceptions"),
}
"""Module → the libraries that are hidden from it."""
ENVIRONMENT: Mapping[str, str] = {
    # Else pydantic reads the metadata of all installed packages, and loads its plugins.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
START_OBJECTS = 200_000
"""Twice as many objects as modules make."""


def install() -> None:
    """Makes imports late from now on, and stops garbage collection meanwhile: the objects that
    modules create stay. (`pump.tame_garbage_collector` ends that.)
    """
    gc.set_threshold(START_OBJECTS)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


class _Finder:
    """Finds the modules of the tables if they are Python files; leaves all others to Python's
    finders."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        kind = _LateLoader if name in LATE else _LoaderWithout if name in WITHOUT else None
        if kind is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = kind(spec.loader.name, spec.loader.path)
        return spec


class _LateLoader(SourceFileLoader):
    """Leaves a module empty until the first access to one of its attributes."""

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(_Late(module, super().exec_module).names)


class _Late:
    """The state of one late module: empty, running its code, or loaded."""

    def __init__(self, module: ModuleType, run: Callable[[ModuleType], None]) -> None:
        """`run` runs the module's code in it."""
        self._module = module
        self._run = run
        self._lock = RLock()
        self._state: Literal["empty", "running", "complete"] = "empty"
        self._submodules: dict[str, str] = {}
        """Name → the submodule that it comes from."""
        self.names: dict[str, Any] = {"__getattr__": self._ask}
        """The attributes of the module until its code runs."""
        for entry in LATE[module.__name__]:
            submodule, _, name = entry.rpartition(".")
            if submodule:
                self._submodules[name] = submodule
            else:
                self.names[name] = self._stand_in(name)

    def _ask(self, name: str) -> Any:
        """Returns an attribute that the module does not have yet; called by Python (PEP 562)."""
        if name == "__path__":  # asked to find out whether this is a package; packages have it
            raise self._missing(name)
        if name in self._submodules:
            found = getattr(self._import(self._submodules[name]), name, None)
        else:
            found = self._import(name)
        if found is not None:
            return found
        self._load()
        if self._state == "running":  # the module's own code asks
            raise self._missing(name)
        return getattr(self._module, name)

    def _missing(self, name: str) -> AttributeError:
        return AttributeError(f"module {self._module.__name__!r} has no attribute {name!r}")

    def _import(self, name: str) -> ModuleType | None:
        """Imports a submodule while the package stays empty; returns None where it does not
        exist."""
        if not hasattr(self._module, "__path__"):
            return None
        path = f"{self._module.__name__}.{name}"
        try:
            return import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:
                raise
            return None

    def _stand_in(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._load()
            return getattr(self._module, name)(*arguments, **options)

        return call

    def _load(self) -> None:
        """Runs the module's code unless it has run. A second thread waits for the first."""
        with self._lock:
            if self._state != "empty":
                return
            self._state = "running"
            namespace = self._module.__dict__
            for name in self.names.keys() - {"__getattr__"}:
                namespace.pop(name, None)
            try:
                self._run(self._module)
            except BaseException:
                self._state = "empty"  # the next access raises it as well
                raise
            self._state = "complete"
            if namespace.get("__getattr__") is self.names["__getattr__"]:
                del namespace["__getattr__"]


class _LoaderWithout(SourceFileLoader):
    """Loads a module and hides libraries from it."""

    def exec_module(self, module: ModuleType) -> None:
        loaded = cast(dict[str, ModuleType | None], sys.modules)  # None: its import fails
        hidden = [name for name in WITHOUT[module.__name__] if name not in loaded]
        loaded.update(dict.fromkeys(hidden))
        try:
            super().exec_module(module)
        finally:
            for name in hidden:
                del loaded[name]
