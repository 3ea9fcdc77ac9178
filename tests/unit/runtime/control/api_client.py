"""A client of the control API that is none of ours: a second opinion on its HTTP."""

import json
from typing import Any

import trio


async def curl(path: str, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request on a connection of its own; understands just enough HTTP to be a second opinion."""
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(head.encode() + body)
        answer = b""
        async for part in stream:
            answer += part
    headers, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in headers.lower():
        whole = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            whole += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        rest = whole
    return int(headers.split()[1]), rest


async def fetch(path: str, target: str) -> Any:
    status, body = await curl(path, "GET", target)
    assert status == 200, body
    return json.loads(body)


async def refusal(path: str, method: str, target: str, body: object = None) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    status, answer = await curl(path, method, target, data)
    return status, json.loads(answer)["error"]
