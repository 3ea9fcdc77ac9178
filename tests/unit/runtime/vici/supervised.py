"""A supervisor beside a charon played by a script: what is asked of it, and what it reported."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import trio

from nhrpd_py.core.address import Address, parse_address
from nhrpd_py.core.config import AuthorizeConfig, Config, InterfaceConfig, IpsecConfig, ViciConfig
from nhrpd_py.core.effects import WantSa
from nhrpd_py.core.events import Event, SaInstalled
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.profiles.swanctl import SwanctlConf
from nhrpd_py.runtime.vici.supervisor import Supervisor
from tests.unit.runtime.vici.fake_charon import LOCAL, FakeCharon

PROFILE: dict[str, Any] = {
    "version": b"2",
    "local": {"auth": b"psk"},
    "remote": {"auth": b"psk"},
    "children": {
        "dmvpn": {
            "mode": b"transport",
            "local_ts": [b"dynamic[gre]"],
            "remote_ts": [b"dynamic[gre]"],
            "reqid": b"7",
            "start_action": b"trap",
        }
    },
}
HUB = {**PROFILE, "remote": {"auth": b"psk", "id": b"hub1.vpn.example"}}
PEER = "192.0.2.2"
PAIR = (parse_address(LOCAL), parse_address(PEER))

Kind = TypeVar("Kind")


class Supervised:
    """A supervisor, the swanctl.conf and the kernel's ESP states that it sees, and what it reported."""

    def __init__(self, nursery: trio.Nursery, path: Path, config: Config) -> None:
        self.nursery = nursery
        self.path = path
        self.config = config
        self.inbox = Inbox()
        self.reports: list[tuple[float, Event]] = []
        self.connections: dict[str, Any] = {"dmvpn": PROFILE}
        """Of swanctl.conf."""
        self.reading_s = 0.0
        """How long swanctl takes to read them."""
        self.kernel: set[tuple[Address, Address]] = set()
        self.looks = 0
        """How often the kernel's states were read."""
        self.supervisor = Supervisor(
            self.inbox,
            config,
            self.kernel_pairs,
            rng=random.Random(1),
            open_swanctl=lambda config: FakeSwanctl(config.vici.swanctl_config, self),
        )

    async def kernel_pairs(self) -> set[tuple[Address, Address]]:
        self.looks += 1
        return self.kernel

    async def take(self) -> None:
        while True:
            events = await self.inbox.take()
            self.reports.extend((trio.current_time(), each) for each in events)

    # What is done to it.

    async def start_charon(self, **options: bool) -> FakeCharon:
        charon = FakeCharon(self.path, **options)
        await self.nursery.start(charon.serve)
        return charon

    def configure(self, **changes: Any) -> None:
        self.config = replace(self.config, **changes)
        self.supervisor.configure(self.config)

    def want(self, peer: str = PEER, *, server: bool = True, **options: Any) -> None:
        ipsec = self.config.interfaces["gre1"].ipsec
        assert ipsec is not None
        self.supervisor.want(
            WantSa(
                ipsec=ipsec,
                local=parse_address(LOCAL),
                remote=parse_address(peer),
                server=server,
                **options,
            )
        )

    async def bring_up(self) -> None:
        """Wants the SA with the peer, and waits until there is one."""
        self.want()
        await self.reported(SaInstalled)

    # What it reported.

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [each for _, each in self.reports if isinstance(each, kind)]

    def times(self, kind: type[Any]) -> list[float]:
        return [at for at, each in self.reports if isinstance(each, kind)]

    @property
    def kinds(self) -> list[str]:
        return [type(each).__name__ for _, each in self.reports]

    async def reported(
        self, kind: type[Kind], count: int | None = None, within_s: float = 30.0
    ) -> list[Kind]:
        """Waits until so many events of a kind were reported, or any; returns them."""

        def are_reported() -> bool:
            found = len(self.of(kind))
            return found == count if count is not None else found > 0

        await self.until(are_reported, within_s)
        return self.of(kind)

    async def until(self, condition: Callable[[], Any], limit_s: float = 30.0) -> None:
        deadline = trio.current_time() + limit_s
        while not condition():
            assert trio.current_time() < deadline, self.reports
            await trio.sleep(0.05)


class FakeSwanctl:
    """A swanctl.conf that has the connections of a test."""

    def __init__(self, path: str, it: Supervised) -> None:
        self.path = path
        self._it = it

    async def get(self) -> SwanctlConf:
        await trio.sleep(self._it.reading_s)
        return SwanctlConf(self._it.connections)


@asynccontextmanager
async def supervised(
    tmp_path: Path, ipsec: IpsecConfig | None = None, *, by_certificate: bool = False
) -> AsyncIterator[Supervised]:
    """A supervisor that runs, and that has reported already that no charon is there."""
    path = tmp_path / "charon.vici"
    interface = InterfaceConfig(
        name="gre1",
        network_id=1,
        ipsec=ipsec or IpsecConfig(profile="dmvpn"),
        authorize=AuthorizeConfig(certificate=by_certificate),
    )
    config = Config(vici=ViciConfig(socket=str(path)), interfaces={"gre1": interface})
    async with trio.open_nursery() as nursery:
        it = Supervised(nursery, path, config)
        nursery.start_soon(it.take)
        await nursery.start(it.supervisor.run)
        yield it
        nursery.cancel_scope.cancel()
