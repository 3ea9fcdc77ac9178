"""The control API's routes, as an ASGI application for `http`.

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
sentence}. A view is read in one step, so that it is consistent, and sent in slices with the pump
running in between.
"""

import contextlib
import importlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from nhrpd_py import __version__
from nhrpd_py.core.address import parse_address, parse_prefix
from nhrpd_py.core.queries import Command, Flush, FlushWhat, Query, Resolve, View
from nhrpd_py.core.rows import InterfaceRow, Row, SaRow
from nhrpd_py.runtime.control.commands import CommandRelay
from nhrpd_py.runtime.control.json import ROWS_PER_SLICE, render
from nhrpd_py.runtime.control.notices import NoticeHub, TooManySubscribers
from nhrpd_py.runtime.reload import ReloadOutcome

MAX_BODY = 16 * 1024
BODY_LIMIT_S = 5.0
"""How long a client may take to send a body, and with it one of the places of all clients."""
BAD_REQUEST = 400
TIMED_OUT = 408
TOO_LARGE = 413


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The parts of the daemon that the API shows and controls."""

    ask: Callable[[Query], Sequence[Row]]
    commands: CommandRelay
    notices: NoticeHub
    counters: Callable[[], Mapping[str, Mapping[str, int]]]
    problems: Callable[[], Mapping[str, str]]
    """Part of the daemon (`nflog`) → its problem, for people."""
    uptime: Callable[[], float]
    reload: Callable[[], Awaitable[ReloadOutcome]]
    """Reads the configuration file again."""
    sas: Callable[[], Awaitable[Sequence[SaRow]]]
    """Asks charon for its SAs."""


def application(sources: Sources) -> Starlette:
    """Returns the API as an ASGI application."""
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
    """Answers all requests but streams: views, status, metrics and commands."""

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
        # Loaded at the first scrape, in a thread, so that the pump keeps running meanwhile.
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
    """Returns the JSON object of a request, whose values must be strings; keys with null are left
    out."""
    data = b""
    with trio.move_on_after(BODY_LIMIT_S) as limit:
        async with contextlib.aclosing(request.stream()) as parts:
            async for part in parts:
                data += part
                if len(data) > MAX_BODY:
                    raise HTTPException(TOO_LARGE, f"a request has at most {MAX_BODY} octets")
    if limit.cancelled_caught:
        raise HTTPException(TIMED_OUT, f"the rest did not come within {BODY_LIMIT_S:g} s")
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


class _SlicedResponse(Response):
    """Sends a long body in pieces and lets the pump run after each.

    Starlette's own StreamingResponse cancels itself when Hypercorn closes a `Connection: close`
    stream, and so also cancels the closing: the client would wait for ever.
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


class _Monitor:
    """Streams notices as they happen, one JSON object a line; an ASGI application."""

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
