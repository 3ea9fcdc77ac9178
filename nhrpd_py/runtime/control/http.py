"""The control API's server: HTTP/1.1 over the control socket, for `nhrpctl`, curl and Prometheus.

Other versions are not spoken: who begins with HTTP/2 gets 505, and an offer to upgrade to it
(`h2c`) is answered in HTTP/1.1. Nobody needs them, and their parsers stay out of the process. `api`
has the answer to each request.
"""

import contextlib
import errno
import logging
import math
from typing import Any, cast

import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.requests import ClientDisconnect

from nhrpd_py.runtime.control.api import Sources, application

HTTP_VERSION_NOT_SUPPORTED = 505
MAX_CONNECTIONS = 64
ACCEPT_PAUSE_S = 0.1
SHORTAGE_TOLD_S = 60.0
"""Shortest time between two log lines about a shortage."""
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of accept(2) while the process or the machine has no room for another connection."""
CLIENT_LEFT = (
    ConnectionError,
    ClientDisconnect,
    trio.BrokenResourceError,
    trio.BusyResourceError,  # Hypercorn complains of half a request while it still writes an answer
    trio.ClosedResourceError,
)
"""Exceptions that a client causes which hangs up in the middle of a request or of its answer."""


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
        await trio.serve_listeners(self._serve, [_LimitedListener(listener, self._places)])

    async def _serve(self, stream: trio.SocketStream) -> None:
        """Serves one connection. Any error ends this connection alone."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_hang_up_when_cancelled, stream)
                context = WorkerContext(None)
                state = ConnectionState({})
                await _Connection(
                    self._app, self._config, context, cast(Any, state), cast(Any, stream)
                )
                nursery.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 (the supervisor of one connection)
            if _client_left(error):
                self._log.info("control.client_left")
            else:
                self._log.exception("control.failed")
        finally:
            self._places.release()
            await trio.aclose_forcefully(stream)


class _Connection(TCPServer):
    """Serves one connection as Hypercorn does, but in HTTP/1.1 only, and ends it when the client
    closes it and not only after its idle time."""

    async def _read_data(self) -> None:
        self.protocol.protocol = _Http1(
            self.app,
            self.config,
            self.context,
            self._task_group,
            ConnectionState(self.state),
            ssl=False,
            client=None,
            server=None,
            send=self.protocol_send,
        )
        await super()._read_data()
        await self.idle_task.stop()


class _Http1(H11Protocol):
    """Speaks HTTP/1.1 and changes to no other version."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignores an offer to upgrade to HTTP/2, as RFC 9110 §7.8 lets a server."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version.startswith(b"1."):
            await super()._create_stream(request)
        else:  # the preface of HTTP/2 (RFC 9113 §3.4)
            await self._send_error_response(HTTP_VERSION_NOT_SUPPORTED)
            await self.send(Closed())


class _LimitedListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts a connection when there is room for it: further ones wait in the kernel's backlog
    and cost the daemon no descriptor."""

    def __init__(self, listener: trio.SocketListener, places: trio.Semaphore) -> None:
        self._listener = listener
        self._places = places
        self._told_at = -math.inf
        self._log = structlog.get_logger()

    async def accept(self) -> trio.SocketStream:
        await self._places.acquire()
        try:
            while True:
                stream = await self._try_to_accept()
                if stream is not None:
                    return stream
                await trio.sleep(ACCEPT_PAUSE_S)
        except BaseException:
            self._places.release()
            raise

    async def _try_to_accept(self) -> trio.SocketStream | None:
        """Accepts a connection; returns None where there is no room for another."""
        try:
            return await self._listener.accept()
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            if trio.current_time() >= self._told_at + SHORTAGE_TOLD_S:
                self._told_at = trio.current_time()
                self._log.error("control.no_room", reason=error.strerror)
            return None

    async def aclose(self) -> None:
        await self._listener.aclose()


def _client_left(error: BaseException | None) -> bool:
    """Returns whether an error only says that the client hung up."""
    if isinstance(error, BaseExceptionGroup):
        return all(_client_left(each) for each in error.exceptions)
    return isinstance(error, CLIENT_LEFT)


async def _hang_up_when_cancelled(stream: trio.SocketStream) -> None:
    """Shuts the connection down when the daemon stops. Hypercorn shields its writes: a client that
    does not read would hold up the end of the daemon for ever."""
    try:
        await trio.sleep_forever()
    finally:
        with contextlib.suppress(OSError):  # the client has hung up already
            stream.socket.shutdown(trio.socket.SHUT_RDWR)


def _complaints() -> logging.Logger:
    """Returns a logger for Hypercorn that writes to our log."""

    def relay(record: logging.LogRecord) -> bool:
        if record.exc_info and _client_left(record.exc_info[1]):
            structlog.get_logger().info("control.client_left")
            return False
        structlog.get_logger().warning(
            "control.complaint", reason=record.getMessage(), exc_info=record.exc_info
        )
        return False

    logger = logging.getLogger("nhrpd.control")
    logger.filters = [relay]
    logger.setLevel(logging.WARNING)
    return logger
