"""A charon played by a script: stock or patched, with peers that answer, refuse or are dead."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel
from vici.protocol import FiniteStream, Message, Packet

EVENTS = {"child-updown", "child-rekey", "ike-updown", "ike-rekey", "ike-update", "log"}
STREAMS = {"list-sa", "list-cert"}
LOCAL = "192.0.2.1"


class FakeCharon:
    """Listens at `path` while `serve` runs."""

    def __init__(self, path: Path, *, patched: bool = False, alerts: bool = False) -> None:
        self.path = path
        self.known = EVENTS | STREAMS
        if patched:
            self.known |= {"child-state-installing"}
        if alerts:
            self.known |= {"alert"}
        self.patched = patched
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.conns: dict[str, Any] = {}
        self.ikes: dict[int, tuple[str, dict[str, Any]]] = {}
        self.behaviour: dict[str, str] = {}
        """By peer: up (unless said otherwise), dead, refuse, childless, tunnel, flap, unannounced."""
        self.knows_marks = True
        self.refused: set[str] = set()
        """Names of connections that are not taken."""
        self.certificates: list[bytes] = []
        self.next_id = 1
        self.in_flight = 0
        self.most_in_flight = 0
        self.busy: set[int] = set()
        """IKE_SAs that a list leaves out which must not wait for them."""
        self.silent: set[str] = set()
        """Commands that are never answered."""
        self._registered: dict[trio.SocketStream, set[str]] = {}
        self._sending = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._listener: trio.SocketListener | None = None

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.path.unlink(missing_ok=True)
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(self.path))
        sock.listen(32)
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            try:
                await trio.serve_listeners(self._client, [trio.SocketListener(sock)])
            finally:
                sock.close()

    def has_listener(self, event: str) -> bool:
        """Whether anybody asked for an event."""
        return any(event in events for events in self._registered.values())

    async def stop(self) -> None:
        """As SIGKILL ends it: all connections are closed, the socket file stays."""
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint()

    async def _client(self, stream: trio.SocketStream) -> None:
        self._registered[stream] = set()
        buffer = b""
        try:
            async for octets in stream:
                buffer += octets
                while len(buffer) >= 4:
                    (length,) = struct.unpack("!I", buffer[:4])
                    if len(buffer) < 4 + length:
                        break
                    packet, buffer = buffer[4 : 4 + length], buffer[4 + length :]
                    await self._take(stream, packet)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            del self._registered[stream]

    async def send(self, stream: trio.SocketStream, kind: int, body: bytes = b"") -> None:
        packet = bytes([kind]) + body
        async with self._sending:
            await stream.send_all(struct.pack("!I", len(packet)) + packet)

    async def _take(self, stream: trio.SocketStream, packet: bytes) -> None:
        end = 2 + packet[1]
        name = packet[2:end].decode()
        if packet[0] in {Packet.EVENT_REGISTER, Packet.EVENT_UNREGISTER}:
            if name not in self.known:
                await self.send(stream, Packet.EVENT_UNKNOWN)
                return
            events = self._registered[stream]
            (events.add if packet[0] == Packet.EVENT_REGISTER else events.discard)(name)
            await self.send(stream, Packet.EVENT_CONFIRM)
            return
        message = Message.deserialize(FiniteStream(packet[end:]))
        self.requests.append((name, message))
        if name in self.silent:
            return
        answer = await self._carry_out(stream, name, message)
        if answer is None:
            await self.send(stream, Packet.CMD_UNKNOWN)
        else:
            await self.send(stream, Packet.CMD_RESPONSE, Message.serialize(answer))

    async def _carry_out(
        self, stream: trio.SocketStream, name: str, message: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        match name:
            case "version":
                return {"daemon": "charon", "version": "5.9.8"}
            case "get-conns":
                return {"conns": list(self.conns)}
            case "load-conn":
                if self.refused & message.keys():
                    return {"success": "no", "errmsg": "loading certificate failed"}
                if not self.knows_marks and "set_mark_in" in str(message):
                    return {
                        "success": "no",
                        "errmsg": "unknown option: set_mark_in, config discarded",
                    }
                self.conns.update(message)
            case "unload-conn":
                if self.conns.pop(message["name"].decode(), None) is None:
                    return {"success": "no", "errmsg": "not found"}
            case "list-sas":
                for conn, ike in [
                    each
                    for number, each in self.ikes.items()
                    if "noblock" not in message or number not in self.busy
                ]:
                    await self._event(stream, "list-sa", {conn: ike})
                return {}
            case "list-certs":
                for each in self.certificates:
                    await self._event(stream, "list-cert", {"type": "X509", "data": each})
                return {}
            case "initiate":
                return self._initiate(message)
            case "terminate":
                found = self.ikes.pop(int(message["ike-id"]), None)
                if found is None:
                    return {"success": "no", "errmsg": "no matching SAs to terminate found"}
                conn, ike = found
                if ike["state"] != "CONNECTING":
                    await self.emit("ike-updown", {conn: {**ike, "state": "DELETING"}})
            case _:
                return None
        return {"success": "yes"}

    def _initiate(self, message: Mapping[str, Any]) -> dict[str, Any]:
        assert self._nursery is not None
        conn = message["ike"].decode()
        if self.patched and "other-host" in message:
            remote = message["other-host"].decode()
        elif conn in self.conns:
            (octets,) = self.conns[conn]["remote_addrs"]
            remote = octets.decode()
        else:
            return {"success": "no", "errmsg": f"CHILD_SA config '{conn}' not found"}
        assert message["timeout"] == b"-1"
        self._nursery.start_soon(self._negotiate, conn, remote)
        return {"success": "yes"}

    async def _negotiate(self, conn: str, remote: str) -> None:
        behaviour = self.behaviour.get(remote, "up")
        ike_id = self._number()
        ike = self.ike(ike_id, remote, "CONNECTING", initiator=True)
        self.ikes[ike_id] = conn, ike
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.log(conn, ike_id, f"initiating IKE_SA {conn}[{ike_id}] to {remote}")
            if behaviour == "dead":
                await trio.sleep(12)
                return
            await trio.sleep(0.5)
            await self.log(conn, ike_id, "received packet: from there")
            if behaviour == "refuse":
                await self.log(conn, ike_id, "received AUTHENTICATION_FAILED notify error")
                del self.ikes[ike_id]
                await self.emit("ike-updown", {conn: ike})
                return
            ike["state"] = "ESTABLISHED"
            if behaviour == "unannounced":
                ike["child-sas"] = self.child("TRANSPORT")
                return
            await self.emit("ike-updown", {"up": "yes", conn: ike})
            if behaviour == "childless":
                await self.log(conn, ike_id, "received TS_UNACCEPTABLE notify, no CHILD_SA built")
                await trio.sleep(3)
                return
            mode = "TUNNEL" if behaviour == "tunnel" else "TRANSPORT"
            ike["child-sas"] = self.child(mode)
            await self.emit("child-updown", {"up": "yes", conn: ike})
            if behaviour == "flap":
                await self.lose(ike_id)
        finally:
            self.in_flight -= 1

    async def incoming(self, remote: str, identity: str = "", mode: str = "TRANSPORT") -> int:
        """A peer brings an SA up; returns the IKE_SA's number."""
        ike_id = self._number()
        ike = self.ike(ike_id, remote, "ESTABLISHED", identity=identity)
        ike["child-sas"] = self.child(mode)
        self.ikes[ike_id] = "dmvpn", ike
        await self.emit("ike-updown", {"up": "yes", "dmvpn": ike})
        await self.emit("child-updown", {"up": "yes", "dmvpn": ike})
        return ike_id

    async def lose(self, ike_id: int) -> None:
        """The peer deletes its IKE_SA."""
        conn, ike = self.ikes.pop(ike_id)
        await self.emit("ike-updown", {conn: {**ike, "state": "DELETING"}})
        await self.emit("child-updown", {conn: {**ike, "state": "DELETING"}})

    def ike(
        self, ike_id: int, remote: str, state: str, *, initiator: bool = False, identity: str = ""
    ) -> dict[str, Any]:
        result = {
            "uniqueid": str(ike_id),
            "state": state,
            "local-host": LOCAL,
            "remote-host": remote,
            "remote-id": identity or f"{remote}.vpn.example",
        }
        return result | ({"initiator": "yes"} if initiator else {})

    def child(self, mode: str, name: str = "dmvpn") -> dict[str, Any]:
        number = self._number()
        return {
            f"{name}-{number}": {
                "name": name,
                "uniqueid": str(number),
                "state": "INSTALLED",
                "mode": mode,
                "spi-in": f"{id(self) & 0xFFFF:04x}{number:04x}",
                "spi-out": f"{number + 1000:08x}",
            }
        }

    def _number(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    async def log(self, conn: str, ike_id: int, line: str) -> None:
        message = {"ikesa-name": conn, "ikesa-uniqueid": str(ike_id), "msg": line}
        await self.emit("log", message)

    async def emit(self, event: str, message: Mapping[str, Any]) -> None:
        for stream, events in list(self._registered.items()):
            if event in events:
                await self._event(stream, event, message)

    async def _event(self, stream: trio.SocketStream, event: str, message: Any) -> None:
        name = event.encode()
        body = bytes([len(name)]) + name + Message.serialize(message)
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.send(stream, Packet.EVENT, body)

    def asked(self, command: str) -> list[dict[str, Any]]:
        return [message for name, message in self.requests if name == command]
