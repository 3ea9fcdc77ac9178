"""Our supervisor at the charon of a lab node, and what it told."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from nhrpd_py.core.address import Address, parse_address
from nhrpd_py.core.config import AuthorizeConfig, Config, InterfaceConfig, IpsecConfig, ViciConfig
from nhrpd_py.core.effects import WantSa
from nhrpd_py.core.events import Event
from nhrpd_py.runtime.inbox import Inbox
from nhrpd_py.runtime.vici.supervisor import Supervisor
from tools.lab.classic import ClassicNode


class Driver:
    """A supervisor and what it told."""

    def __init__(self, node: ClassicNode, authorize: AuthorizeConfig) -> None:
        self.node = node
        self.inbox = Inbox()
        self.told: list[Event] = []
        ipsec = IpsecConfig(profile="dmvpn")
        config = Config(
            vici=ViciConfig(
                socket=str(node.charon.socket_path),
                swanctl_config=str(node.charon.swanctl_conf),
            ),
            interfaces={
                "gre1": InterfaceConfig(name="gre1", network_id=1, ipsec=ipsec, authorize=authorize)
            },
        )
        self.supervisor = Supervisor(self.inbox, config, self.kernel_pairs, rng=random.Random(1))
        self.ipsec = ipsec

    async def kernel_pairs(self) -> set[tuple[Address, Address]]:
        text = await trio.to_thread.run_sync(lambda: self.node.namespace.run("ip", "xfrm", "state"))
        lines = [line.split() for line in text.splitlines() if line.startswith("src ")]
        return {(parse_address(words[1]), parse_address(words[3])) for words in lines}

    async def take(self) -> None:
        while True:
            self.told.extend(await self.inbox.take())

    def want(self, peer: str) -> None:
        self.supervisor.want(
            WantSa(
                ipsec=self.ipsec,
                local=parse_address(self.node.nbma),
                remote=parse_address(peer),
                server=True,
            )
        )

    def of(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.told if isinstance(each, kind)]

    async def until(self, condition: Callable[[], Any], limit_s: float = 20.0) -> Any:
        with trio.move_on_after(limit_s):
            while not condition():  # noqa: ASYNC110 (what it looks at tells nobody)
                await trio.sleep(0.02)
        result = condition()
        assert result, (self.told, self.node.charon.log_path.read_text()[-3000:])
        return result


@asynccontextmanager
async def driving(node: ClassicNode, *, by_certificate: bool = False) -> AsyncIterator[Driver]:
    driver = Driver(node, AuthorizeConfig(certificate=by_certificate))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.take)
        await nursery.start(driver.supervisor.run)
        yield driver
        nursery.cancel_scope.cancel()
