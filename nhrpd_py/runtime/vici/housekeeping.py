"""Our connections in charon: keeps those loaded that answer peers, and unloads those of peers long
gone.

`swanctl --load-all` unloads all of them, since they are in no file.
"""

from contextlib import suppress

import trio

from nhrpd_py.core.address import Address, parse_address
from nhrpd_py.runtime.vici.attempts.wanted import WantedSas
from nhrpd_py.runtime.vici.profiles.loading import load_connection
from nhrpd_py.runtime.vici.profiles.profile import (
    PEER_CONNECTION,
    RESPONDER_CONNECTION,
    connection_name,
    responder_connection,
)
from nhrpd_py.runtime.vici.profiles.profiles import Profiles
from nhrpd_py.runtime.vici.sas.table import AssociationTable
from nhrpd_py.runtime.vici.wire.connection import CommandChannel, Section, ViciRefusedError, text
from nhrpd_py.runtime.vici.wire.requests import unload_connection

ROUND_S = 5.0
IDLE_S = 300.0
"""How long a peer's connection stays in charon after it was last needed."""


class Housekeeping:
    """Loads and unloads our connections, every five seconds, as long as a session lasts."""

    def __init__(
        self,
        commands: CommandChannel,
        profiles: Profiles,
        wanted: WantedSas,
        table: AssociationTable,
    ) -> None:
        self._commands = commands
        self._profiles = profiles
        self._wanted = wanted
        self._table = table
        self._idle_since: dict[Address, float] = {}
        self._loaded: dict[str, Section] = {}

    async def run(self) -> None:
        """Runs until it is cancelled. Raises ViciLostError when charon no longer answers."""
        while True:
            answer = await self._commands.request("get-conns")
            names = {text(each) for each in answer.get("conns", ())}
            await self._answer_peers(names)
            await self._unload_idle(names)
            await trio.sleep(ROUND_S)

    async def _answer_peers(self, names: set[str]) -> None:
        responders = await self._profiles.usable()
        # The connection that answers for a profile stays while the profile cannot be read.
        unread = self._profiles.names - {profile.name for profile, _ in responders}
        needed = dict(
            each
            for profile, identity in responders
            if (each := responder_connection(profile, identity)) is not None
        )
        for name, message in needed.items():
            if name in names and self._loaded.get(name) == message:
                continue
            with suppress(ViciRefusedError):  # the reason is in charon's log; it is tried again
                await load_connection(self._commands, name, message)
                self._loaded[name] = message
        for name in names:
            if (
                name.startswith(RESPONDER_CONNECTION)
                and name not in needed
                and name[len(RESPONDER_CONNECTION) :] not in unread
            ):
                self._loaded.pop(name, None)
                await unload_connection(self._commands, name)

    async def _unload_idle(self, names: set[str]) -> None:
        now = trio.current_time()
        in_use = self._wanted.remotes() | {each.remote for each in self._table.children()}
        present: set[Address] = set()
        for name in names:
            if name.startswith(PEER_CONNECTION):
                try:
                    present.add(parse_address(name.removeprefix(PEER_CONNECTION)))
                except ValueError:
                    continue
        self._idle_since = {
            remote: self._idle_since.get(remote, now) for remote in present - in_use
        }
        for remote, since in self._idle_since.items():
            if now - since >= IDLE_S:
                await unload_connection(self._commands, connection_name(remote))
