"""A clear-text guard over a scripted kernel, and what it told."""

import contextlib
import errno
from pathlib import Path

import pytest
import trio

from nhrpd_py.core.effects import ProtectedGre
from nhrpd_py.runtime.guard.guard import Guard
from nhrpd_py.runtime.netlink.xfrm import Action, Direction, Policy, gre_selector
from nhrpd_py.runtime.netlink.xfrm_socket import Xfrm
from tests.unit.runtime.xfrm_peer import ScriptedXfrm

GRE_42 = ProtectedGre(input_key=42, output_key=42)
GRE_43 = ProtectedGre(input_key=43, output_key=43)
V4 = "src 0.0.0.0/0 dst 0.0.0.0/0 proto gre"
REST = "action block priority 1000000"


def pair(key):
    return [f"{V4} key {key} dir in {REST}", f"{V4} key {key} dir out {REST}"]


def an_allowing(direction=Direction.OUT, key=42):
    return Policy(gre_selector(key, ipv6=False), direction, Action.ALLOW, 5)


class World:
    def __init__(self, settings):
        self.kernel = ScriptedXfrm()
        self.notices = []
        self.refusals = []
        self.mended = []
        self.deaf = False
        self.notifications = None
        self.settings = settings
        self.guard = self.another()

    def another(self):
        """The guard of a daemon that starts."""
        return Guard(
            self.notices.append,
            lambda ifindex, reason: self.refusals.append((ifindex, reason)),
            self.mended.append,
            open_requests=lambda: Xfrm(self.kernel),
            open_notifications=self._listen,
            settings=self.settings,
        )

    def _listen(self):
        if self.deaf:
            raise OSError(errno.EMFILE, "Too many open files")
        self.notifications = self.kernel.listen()
        return self.notifications

    @contextlib.asynccontextmanager
    async def running(self):
        async with trio.open_nursery() as nursery:
            await nursery.start(self.guard.run)
            await self.until(lambda: self.guard.counters["audits"], "the first audit")
            yield self
            nursery.cancel_scope.cancel()

    async def until(self, condition, what):
        with trio.move_on_after(3):
            while not condition():  # noqa: ASYNC110 (it may be anything)
                await trio.sleep(0.005)
            return
        pytest.fail(f"not in time: {what}")

    def of(self, kind):
        return [notice for notice in self.notices if isinstance(notice, kind)]


def a_setting(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1\n")
