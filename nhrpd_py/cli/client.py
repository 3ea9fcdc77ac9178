"""The client side of the control API: one synchronous HTTP request over the Unix socket."""

import grp
import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

DEADLINE_S = 30.0
RETRY_S = 0.02
UNREADABLE = (OSError, ValueError, RecursionError, MemoryError)
"""What comes of reading octets that are no answer of nhrpd."""


class NoDaemonError(Exception):
    """Nobody answers on the socket, or nobody that is nhrpd."""


class RefusedError(Exception):
    """The daemon answered with an error, in its words."""


class WrongUsageError(Exception):
    """The daemon did not understand an argument, and says which."""


class Client:
    """Asks the daemon that listens on a socket. Methods raise the three errors above."""

    def __init__(self, path: str) -> None:
        self._path = path

    def get(self, path: str, **parameters: str | None) -> dict[str, Any]:
        """Reads an object; parameters that are None are left out."""
        given = {key: value for key, value in parameters.items() if value is not None}
        target = f"{path}?{urlencode(given, errors='surrogateescape')}" if given else path
        with self._request("GET", target, None, DEADLINE_S) as response:
            return self._document(response)

    def post(self, path: str, **parameters: str | None) -> dict[str, Any]:
        """Gives a command and returns what became of it."""
        with self._request("POST", path, json.dumps(parameters), DEADLINE_S) as response:
            return self._document(response)

    def lines(self, path: str) -> Iterator[dict[str, Any]]:
        """Yields the objects of an endless answer as they come; ends with the daemon."""
        with self._request("GET", path, None, None) as response:
            try:
                while line := response.readline():
                    yield json.loads(line)
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise NoDaemonError("the daemon went away") from error

    @contextmanager
    def _request(
        self, method: str, target: str, body: str | None, deadline_s: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        """Sends a request on a connection of its own, which ends with the block."""
        connection = http.client.HTTPConnection("localhost", timeout=deadline_s)
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        wire.settimeout(deadline_s)
        with closing(wire), closing(connection):
            response = self._send(connection, wire, method, target, body)
            with closing(response):
                if response.status >= http.HTTPStatus.BAD_REQUEST:
                    self._refuse(response)
                yield response

    def _send(
        self,
        connection: http.client.HTTPConnection,
        wire: socket.socket,
        method: str,
        target: str,
        body: str | None,
    ) -> http.client.HTTPResponse:
        try:
            _connect(wire, self._path)
            connection.sock = wire
            connection.request(method, target, body, {"Content-Type": "application/json"})
            return connection.getresponse()
        except PermissionError:
            raise NoDaemonError(f"no permission for {self._path}{self._owners()}") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise NoDaemonError(f"no daemon answers on {self._path}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise NoDaemonError(f"no answer on {self._path}: {reason}") from None

    def _owners(self) -> str:
        """Returns whom the socket is for, to be told to somebody else."""
        try:
            owner = Path(self._path).stat()
            return f": it is for members of the group {grp.getgrgid(owner.st_gid).gr_name}"
        except (OSError, KeyError):
            return ""

    def _refuse(self, response: http.client.HTTPResponse) -> NoReturn:
        reason = str(self._document(response).get("error", response.reason))
        if response.status == http.HTTPStatus.BAD_REQUEST:
            raise WrongUsageError(reason)
        raise RefusedError(reason)

    def _document(self, response: http.client.HTTPResponse) -> dict[str, Any]:
        try:
            document = json.loads(response.read())
        except (*UNREADABLE, http.client.HTTPException) as error:
            raise NoDaemonError(f"half an answer on {self._path}: {error}") from None
        if not isinstance(document, dict):
            raise NoDaemonError(f"what answers on {self._path} is not nhrpd")
        return document


def _connect(wire: socket.socket, path: str) -> None:
    """Connects, within the socket's timeout: Linux refuses at once (EAGAIN) while more wait to be
    accepted than the daemon's backlog holds. Raises OSError."""
    ends_at = time.monotonic() + (wire.gettimeout() or 0)
    while True:
        try:
            return wire.connect(path)
        except BlockingIOError:
            if time.monotonic() >= ends_at:
                raise
        time.sleep(RETRY_S)
