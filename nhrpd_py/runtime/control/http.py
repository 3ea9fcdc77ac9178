"""The control API: HTTP/1.1 and JSON over the control socket, for `nhrpctl`, curl and Prometheus.

    GET  /v1/{cache,nhs,shortcuts,interfaces,peers,traffic,routes,config}[?interface=NAME]
                        {"cache": [row, …]}, the view's name and its rows
    GET  /v1/status     version, pid, uptime_s, problems, counters
    GET  /v1/monitor    one JSON object a line for each notice, until the client hangs up
    GET  /metrics       Prometheus' text format
    POST /v1/flush      {"what": "all", "interface": …, "protocol": PREFIX, "nbma": ADDRESS}
    POST /v1/reload     {"changes": [text, …], "restart": [setting, …], "problems": [line, …]}; applied
                        unless there are problems
    POST /v1/resolve    {"address": …, "interface": …}

Commands answer {"matched": n, "refused": null or why, "detail": text}; every error is {"error":
sentence}. Views are taken in one go, so that they are consistent, and written in slices with the
pump running in between.
"""

import contextlib
import importlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from typing import Any, cast, get_args

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from nhrpd_py import __version__
from nhrpd_py.core.address import parse_address, parse_prefix
from nhrpd_py.core.queries import Command, Flush, FlushWhat, Query, Resolve, View
from nhrpd_py.core.rows import InterfaceRow, Row
from nhrpd_py.runtime.control.notices import NoticeHub, TooManySubscribers
from nhrpd_py.runtime.control.socket import Commands
from nhrpd_py.runtime.reload import Outcome
from nhrpd_py.runtime.vici.snapshot import SaRow

ROWS_PER_SLICE = 256
"""About 2 ms of work between two chances for the pump."""
MAX_BODY = 16 * 1024
MAX_CONNECTIONS = 64
BAD_REQUEST = 400
TOO_LARGE = 413


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the API shows and steers."""

    ask: Callable[[Query], Sequence[Row]]
    commands: Commands
    notices: NoticeHub
    counters: Callable[[], Mapping[str, Mapping[str, int]]]
    problems: Callable[[], Mapping[str, str]]
    """Part of the daemon (`nflog`) → what is wrong with it, in words."""
    uptime: Callable[[], float]
    reload: Callable[[], Awaitable[Outcome]]
    """Reads the configuration file again."""
    sas: Callable[[], Awaitable[Sequence[SaRow]]]
    """Asks charon for its SAs."""


class ControlServer:
    """Serves the API on a socket that listens already."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._log = structlog.get_logger()
        self._config = HypercornConfig()
        self._config.accesslog = None
        self._config.errorlog = _complaints()
        self._config.include_server_header = False
        self._app = ASGIWrapper(cast(Any, application(sources)))
        self._places = trio.Semaphore(MAX_CONNECTIONS)

    async def run(
        self,
        listener: trio.SocketListener,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        task_status.started()
        await trio.serve_listeners(self._serve, [_Doorkeeper(listener, self._places)])

    async def _serve(self, stream: trio.SocketStream) -> None:
        """One connection. Whatever goes wrong with it ends it alone."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_hang_up_when_cancelled, stream)
                context = WorkerContext(None)
                state = ConnectionState({})
                await _Connection(
                    self._app, self._config, context, cast(Any, state), cast(Any, stream)
                )
                nursery.cancel_scope.cancel()
        except Exception:  # noqa: BLE001 (the supervisor of one connection)
            self._log.exception("control.failed")
        finally:
            self._places.release()
            await trio.aclose_forcefully(stream)


class _Connection(TCPServer):
    """Hypercorn's, but one that the client has closed ends at once and not with its idle time."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class _Doorkeeper(trio.abc.Listener[trio.SocketStream]):
    """Accepts a connection when there is a place for it: those beyond wait in the kernel's backlog
    and cost the daemon no descriptor."""

    def __init__(self, listener: trio.SocketListener, places: trio.Semaphore) -> None:
        self._listener = listener
        self._places = places

    async def accept(self) -> trio.SocketStream:
        await self._places.acquire()
        try:
            return await self._listener.accept()
        except BaseException:
            self._places.release()
            raise

    async def aclose(self) -> None:
        await self._listener.aclose()


async def _hang_up_when_cancelled(stream: trio.SocketStream) -> None:
    """Hypercorn shields its writes: a client that stopped reading would hold up the daemon's end
    for ever."""
    try:
        await trio.sleep_forever()
    finally:
        with contextlib.suppress(OSError):  # the client was quicker
            stream.socket.shutdown(trio.socket.SHUT_RDWR)


def _complaints() -> logging.Logger:
    """A logger for Hypercorn whose lines become lines of our log."""

    def relay(record: logging.LogRecord) -> bool:
        structlog.get_logger().warning(
            "control.complaint", reason=record.getMessage(), exc_info=record.exc_info
        )
        return False

    logger = logging.getLogger("nhrpd.control")
    logger.filters = [relay]
    logger.setLevel(logging.WARNING)
    return logger


def application(sources: Sources) -> Starlette:
    """The API as an ASGI application."""
    api = _Api(sources)
    return Starlette(
        routes=[
            Route("/v1/status", api.status),
            Route("/v1/monitor", _Monitor(sources.notices)),
            Route("/v1/flush", api.flush, methods=["POST"]),
            Route("/v1/resolve", api.resolve, methods=["POST"]),
            Route("/v1/reload", api.reload, methods=["POST"]),
            Route("/v1/sas", api.sas),
            Route("/v1/{view}", api.view),
            Route("/metrics", api.metrics),
        ],
        exception_handlers={HTTPException: _error, Exception: _bug},
    )


async def _error(_request: Request, error: Exception) -> Response:
    problem = cast(HTTPException, error)
    return JSONResponse({"error": problem.detail}, problem.status_code)


async def _bug(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "the daemon failed at this; its log tells why"}, 500)


class _Api:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def view(self, request: Request) -> Response:
        name = request.path_params["view"]
        try:
            view = View(name)
        except ValueError:
            raise HTTPException(404, f"there is no view {name!r}") from None
        interface = request.query_params.get("interface")
        if interface is not None:
            self._must_exist(interface)
        rows = self._sources.ask(Query(view=view, interface=interface))
        slices = render(view, rows, self._sources.problems())
        if len(rows) > ROWS_PER_SLICE:
            return _SlicedResponse(slices)
        return Response("".join(slices), media_type="application/json")

    async def sas(self, request: Request) -> Response:
        interface = request.query_params.get("interface")
        nbma = None if interface is None else self._must_exist(interface).nbma
        wanted = [
            row for row in await self._sources.sas() if interface is None or row.local_nbma == nbma
        ]
        return JSONResponse({"sas": [asdict(row) for row in wanted]})

    def _must_exist(self, interface: str) -> InterfaceRow:
        for row in self._sources.ask(Query(view=View.INTERFACES)):
            if isinstance(row, InterfaceRow) and row.interface == interface:
                return row
        raise HTTPException(404, f"no interface {interface!r} is configured")

    async def status(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "version": __version__,
                "pid": os.getpid(),
                "uptime_s": round(self._sources.uptime(), 3),
                "problems": dict(self._sources.problems()),
                "counters": {name: dict(part) for name, part in self._sources.counters().items()},
            }
        )

    async def metrics(self, _request: Request) -> Response:
        # The first scrape loads it, in a thread, so that the pump keeps running meanwhile.
        await trio.to_thread.run_sync(importlib.import_module, "nhrpd_py.runtime.control.metrics")
        from nhrpd_py.runtime.control.metrics import DaemonCollector, exposition  # noqa: PLC0415

        sources = self._sources
        text = exposition(DaemonCollector(sources.ask, sources.counters, sources.uptime))
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def flush(self, request: Request) -> Response:
        body = await _body(request, {"what", "interface", "protocol", "nbma"})
        what = body.get("what", FlushWhat.ALL.value)
        try:
            flush = Flush(
                what=FlushWhat(what),
                interface=body.get("interface"),
                protocol=parse_prefix(body["protocol"]) if "protocol" in body else None,
                nbma=parse_address(body["nbma"]) if "nbma" in body else None,
            )
        except ValueError as error:
            raise HTTPException(BAD_REQUEST, str(error)) from None
        return await self._give(flush)

    async def resolve(self, request: Request) -> Response:
        body = await _body(request, {"address", "interface"})
        if "address" not in body:
            raise HTTPException(BAD_REQUEST, "address is missing")
        try:
            resolve = Resolve(
                address=parse_address(body["address"]), interface=body.get("interface")
            )
        except ValueError as error:
            raise HTTPException(BAD_REQUEST, str(error)) from None
        return await self._give(resolve)

    async def reload(self, request: Request) -> Response:
        await _body(request, set())
        return JSONResponse(asdict(await self._sources.reload()))

    async def _give(self, command: Command) -> Response:
        if command.interface is not None:
            self._must_exist(command.interface)
        answer = await self._sources.commands.give(command)
        if answer is None:
            raise HTTPException(504, "the daemon is too busy to answer")
        return JSONResponse(
            {"matched": answer.matched, "refused": answer.refused, "detail": answer.detail}
        )


async def _body(request: Request, keys: set[str]) -> dict[str, str]:
    """The request's JSON object with text values; an absent or null value is left out."""
    data = b""
    async with contextlib.aclosing(request.stream()) as parts:
        async for part in parts:
            data += part
            if len(data) > MAX_BODY:
                raise HTTPException(TOO_LARGE, f"a request has at most {MAX_BODY} octets")
    try:
        document = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise HTTPException(BAD_REQUEST, f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise HTTPException(BAD_REQUEST, "the body must be a JSON object")
    for key, value in document.items():
        if key not in keys:
            raise HTTPException(
                BAD_REQUEST, f"unknown key {key!r}; known: {', '.join(sorted(keys))}"
            )
        if not isinstance(value, str | None):
            raise HTTPException(BAD_REQUEST, f"{key} must be a string")
    return {key: value for key, value in document.items() if value is not None}


def render(view: View, rows: Sequence[Row], problems: Mapping[str, str]) -> Iterator[str]:
    """One JSON object, a slice of rows at a time."""
    yield f'{{"{view.value}": ['
    for start in range(0, len(rows), ROWS_PER_SLICE):
        part = [_row(row, problems) for row in rows[start : start + ROWS_PER_SLICE]]
        text = json.dumps(part)[1:-1]
        yield text if start == 0 else f", {text}"
    yield "]}\n"


class _SlicedResponse(Response):
    """A long body in pieces, with a chance for the pump after each.

    Starlette's own StreamingResponse cancels itself when Hypercorn closes a `Connection: close`
    stream, and with it the closing: the client would wait for ever.
    """

    media_type = "application/json"

    def __init__(self, slices: Iterator[str]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._slices = slices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        for text in self._slices:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            await trio.lowlevel.checkpoint()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _reader(kind: type[Row]) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = tuple(field.name for field in fields(kind))
    return names, cast("Callable[[Any], tuple[Any, ...]]", attrgetter(*names))


READERS = {kind: _reader(kind) for kind in get_args(Row)}
"""Type of row → its keys, and what reads its values."""


def _row(row: Row, problems: Mapping[str, str]) -> dict[str, Any]:
    """A row as JSON has it. (`dataclasses.asdict` copies deeply and takes eight times as long.)"""
    names, values = READERS[type(row)]
    found = dict(zip(names, values(row), strict=True))
    if isinstance(row, InterfaceRow) and row.redirect and row.problem is None:
        found["problem"] = problems.get("nflog")
    return found


class _Monitor:
    """An ASGI application: notices as they happen, a JSON object a line."""

    def __init__(self, notices: NoticeHub) -> None:
        self._notices = notices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._notices.subscribe() as subscriber:
                headers = [(b"content-type", b"application/x-ndjson")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_at_disconnect, receive, nursery.cancel_scope)
                    while True:
                        rows = await subscriber.take()
                        body = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
                        piece = {"type": "http.response.body", "body": body, "more_body": True}
                        await send(piece)
        except TooManySubscribers as error:
            await JSONResponse({"error": str(error)}, 503)(scope, receive, send)


async def _cancel_at_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
