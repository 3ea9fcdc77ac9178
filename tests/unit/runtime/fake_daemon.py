"""The control side of a daemon on a real socket, with a fake engine behind it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from nhrpd_py.core.effects import AnswerCommand
from nhrpd_py.core.events import CommandGiven
from nhrpd_py.core.queries import Command, Query, View
from nhrpd_py.core.rows import (
    CacheRow,
    ConfigRow,
    InterfaceRow,
    NhsRow,
    PeerRow,
    ProbeRow,
    ProblemRow,
    RouteRow,
    Row,
    SaRow,
    ShortcutRow,
    TrafficRow,
)
from nhrpd_py.runtime.control.api import Sources
from nhrpd_py.runtime.control.commands import CommandRelay
from nhrpd_py.runtime.control.http import ControlServer
from nhrpd_py.runtime.control.notices import NoticeHub
from nhrpd_py.runtime.control.socket import ControlSocket
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.logs import NoticeLog
from nhrpd_py.runtime.reload import ReloadOutcome


def a_cache_row(number: int = 1, **changes: object) -> CacheRow:
    values: dict[str, object] = {
        "interface": "gre1",
        "afi": "ipv4",
        "type": "dynamic",
        "protocol": f"10.0.{number >> 8}.{number & 255}",
        "prefix_length": 32,
        "nbma": "192.0.2.1",
        "claimed_nbma": "192.168.0.1",
        "nat": True,
        "unique": False,
        "used": True,
        "up": True,
        "authorized": True,
        "holding_time_s": 600,
        "expires_in_s": 65.4,
        "age_s": 535.0,
        "mtu": 1476,
        "identity": None,
        "problem": None,
    }
    return CacheRow(**(values | changes))  # type: ignore[arg-type]


def an_nhs_row(**changes: object) -> NhsRow:
    values: dict[str, object] = {
        "interface": "gre1",
        "afi": "ipv4",
        "name": "hub.example.net",
        "nbma": "192.0.2.1",
        "protocol": None,
        "priority": 0,
        "cluster": 0,
        "state": "probe",
        "registered_for_s": None,
        "next_attempt_in_s": 3.0,
        "last_error": "no reply",
        "requests_sent": 4,
        "replies_received": 0,
    }
    return NhsRow(**(values | changes))  # type: ignore[arg-type]


def an_interface_row(**changes: object) -> InterfaceRow:
    values: dict[str, object] = {
        "interface": "gre1",
        "ifindex": 5,
        "up": True,
        "nbma": "192.0.2.7",
        "underlay": "eth0",
        "key": 42,
        "mtu": 1472,
        "network_id": 1,
        "addresses": ("10.0.0.7/24",),
        "redirect": True,
        "shortcut": False,
        "holding_time_s": 600,
        "source_filter": None,
        "wrong_sources": 0,
        "multicast": (),
        "multicast_targets": 0,
        "multicast_packets": 0,
        "multicast_copies": 0,
        "problem": None,
        "losing": None,
        "sa_bytes_in": 0,
        "sa_bytes_out": 0,
    }
    return InterfaceRow(**(values | changes))  # type: ignore[arg-type]


def an_sa_row(**changes: object) -> SaRow:
    values: dict[str, object] = {
        "nbma": "192.0.2.1",
        "local_nbma": "192.0.2.7",
        "identity": "hub.example.net",
        "connection": "nhrp-192.0.2.1",
        "ike_id": 3,
        "child_id": 4,
        "state": "INSTALLED",
        "mode": "TRANSPORT",
        "initiator": True,
        "encap": False,
        "spi_in": "c0ffee01",
        "spi_out": "c0ffee02",
        "bytes_in": 800,
        "packets_in": 8,
        "bytes_out": 900,
        "packets_out": 9,
        "established_s": 61,
        "rekey_in_s": 5400,
        "profile": "dmvpn",
    }
    return SaRow(**(values | changes))  # type: ignore[arg-type]


class FakeEngine:
    """Rows by view, and how commands are answered."""

    def __init__(self) -> None:
        self.rows: dict[View, list[Row]] = {
            View.CACHE: [a_cache_row()],
            View.NHS: [an_nhs_row()],
            View.SHORTCUTS: [
                ShortcutRow(
                    interface="gre1",
                    afi="ipv4",
                    prefix="10.1.0.0/16",
                    via="10.0.0.2",
                    nbma="192.0.2.2",
                    state="active",
                    used=True,
                    expires_in_s=3725.0,
                    holding_time_s=7200,
                    identity=None,
                    path="proven",
                    rtt_s=0.012,
                    reason=None,
                )
            ],
            View.INTERFACES: [an_interface_row()],
            View.PEERS: [
                PeerRow(
                    interface="gre1",
                    nbma="192.0.2.2",
                    local_nbma="192.0.2.7",
                    protocol=("10.0.0.2", "2001:db8::2"),
                    ipsec="none",
                    identity=None,
                    up_for_s=90061.0,
                    last_error=None,
                    path=None,
                    rtt_s=None,
                    bytes_in=None,
                    bytes_out=None,
                    wrong_sources=0,
                )
            ],
            View.TRAFFIC: [
                TrafficRow(interface="gre1", afi="ipv4", direction="sent", type="purge", packets=3),
                TrafficRow(
                    interface="gre1", afi=None, direction="dropped", type="bad-checksum", packets=9
                ),
            ],
            View.PROBES: [
                ProbeRow(
                    interface="gre1",
                    afi="ipv4",
                    sent=9,
                    answered=8,
                    proven=2,
                    failed=1,
                    rtt_sum_s=0.1,
                    rtt_bounds_s=(0.01, 0.1),
                    rtt_counts=(5, 2, 1),
                )
            ],
            View.PROBLEMS: [
                ProblemRow(
                    interface="gre1",
                    afi="ipv4",
                    kind="server-lost",
                    nbma="192.0.2.1",
                    subject="hub.example.net",
                    reason="no answer to 3 registration requests",
                )
            ],
            View.ROUTES: [
                RouteRow(interface="gre1", afi="ipv4", prefix="10.0.0.2/32", via=None, kind="host")
            ],
            View.CONFIG: [ConfigRow(path="interface.gre1.authentication", value="***")],
        }
        self.queries: list[Query] = []
        self.commands: list[Command] = []
        self.answer: Callable[[int], AnswerCommand | None] = lambda token: AnswerCommand(
            token, 3, detail="3 bindings forgotten"
        )

    def ask(self, query: Query) -> list[Row]:
        self.queries.append(query)
        return self.rows[query.view]


class FakeDaemon:
    def __init__(self, path: str) -> None:
        self.path = path
        self.engine = FakeEngine()
        self.problems: dict[str, str] = {}
        self.counters: Mapping[str, Mapping[str, int]] = {"packets": {"received": 7}}
        self.reloaded = ReloadOutcome()
        """What comes of a reload."""
        self.notices = NoticeHub(NoticeLog("error"), clock=lambda: 1_700_000_000.0)
        self.inbox = Inbox()
        self.commands = CommandRelay(self.inbox)
        self.charon: list[SaRow] = []

    async def reload(self) -> ReloadOutcome:
        return self.reloaded

    async def sas(self) -> list[SaRow]:
        """Stands in for the supervisor."""
        return self.charon

    async def obey(self) -> None:
        """Stands in for pump and engine."""
        while True:
            for event in await self.inbox.take():
                assert isinstance(event, CommandGiven)
                self.engine.commands.append(event.command)
                answer = self.engine.answer(event.token)
                if answer is not None:
                    self.commands.answer(answer)


@asynccontextmanager
async def a_daemon(path: str) -> AsyncIterator[FakeDaemon]:
    """Runs until the block ends."""
    daemon = FakeDaemon(path)
    control = ControlSocket(path)
    sources = Sources(
        ask=daemon.engine.ask,
        commands=daemon.commands,
        notices=daemon.notices,
        counters=lambda: daemon.counters,
        problems=lambda: daemon.problems,
        uptime=lambda: 12.5,
        reload=daemon.reload,
        sas=daemon.sas,
    )
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(control.socket))
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(ControlServer(sources).run, listener)
            nursery.start_soon(daemon.obey)
            yield daemon
            nursery.cancel_scope.cancel()
    finally:
        control.close()
