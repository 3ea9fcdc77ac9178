"""Our connections in charon: those that answer peers are kept there, those of peers long gone go.

Whoever runs `swanctl --load-all` takes all of them out, for they are in no file.
"""

import trio

from nhrpd_py.core.address import Address, parse_address
from nhrpd_py.runtime.vici.attempts.attempt import unload
from nhrpd_py.runtime.vici.attempts.wanted import Wishes
from nhrpd_py.runtime.vici.profiles.profile import PEERS, PREFIX, responder_connection
from nhrpd_py.runtime.vici.profiles.profiles import Profiles
from nhrpd_py.runtime.vici.sas.table import AssociationTable
from nhrpd_py.runtime.vici.wire.connection import Commands, Section, ViciRefusedError, text

ROUND_S = 5.0
IDLE_S = 300.0
"""A peer's connection is left in charon for as long after nobody needs it."""


class Housekeeping:
    """Raises ViciLostError when charon answers no more."""

    def __init__(self, commands: Commands, wishes: Wishes, table: AssociationTable) -> None:
        self._commands = commands
        self._wishes = wishes
        self._table = table
        self._idle_since: dict[Address, float] = {}
        self._loaded: dict[str, Section] = {}
        self.problems: dict[str, str] = {}
        """Of connections that charon would not take, by name."""

    async def run(self, profiles: Profiles) -> None:
        self._loaded.clear()
        while True:
            answer = await self._commands.request("get-conns")
            names = {text(each) for each in answer.get("conns", ())}
            await self._answer_peers(names, profiles)
            await self._unload_idle(names)
            await trio.sleep(ROUND_S)

    async def _answer_peers(self, names: set[str], profiles: Profiles) -> None:
        responders = await profiles.usable()
        # What answers for a profile stays while that cannot be read.
        unread = profiles.names - {profile.name for profile, _ in responders}
        wanted = dict(
            each
            for profile, identity in responders
            if (each := responder_connection(profile, identity)) is not None
        )
        for name, message in wanted.items():
            if name in names and self._loaded.get(name) == message:
                continue
            try:
                await self._commands.request("load-conn", {name: message})
                self.problems.pop(name, None)
            except ViciRefusedError as error:
                self.problems[name] = f"charon refuses {name}: {error}"
            self._loaded[name] = message
        for name in names:
            if name.startswith(PEERS) and name not in wanted and name[len(PEERS) :] not in unread:
                await self._unload(name)

    async def _unload(self, name: str) -> None:
        self._loaded.pop(name, None)
        try:
            await self._commands.request("unload-conn", {"name": name})
        except ViciRefusedError:
            return  # somebody else was faster

    async def _unload_idle(self, names: set[str]) -> None:
        now = trio.current_time()
        needed = self._wishes.remotes() | {each.remote for each in self._table.children()}
        present: set[Address] = set()
        for name in names:
            if name.startswith(PREFIX):
                try:
                    present.add(parse_address(name.removeprefix(PREFIX)))
                except ValueError:
                    continue
        self._idle_since = {
            remote: self._idle_since.get(remote, now) for remote in present - needed
        }
        for remote, since in self._idle_since.items():
            if now - since >= IDLE_S:
                await unload(self._commands, remote)
