"""One attempt to get a CHILD_SA with a peer: the requests to charon, and its states by charon's
events."""

from collections.abc import Collection, Mapping
from enum import Enum

import trio

from nhrpd_py.core.address import format_address
from nhrpd_py.core.effects import WantSa
from nhrpd_py.runtime.vici.attempts.reasons import FATAL_ALERTS
from nhrpd_py.runtime.vici.profiles.loading import load_connection
from nhrpd_py.runtime.vici.profiles.profile import (
    Profile,
    connection_name,
    identity_fits,
    peer_connection,
)
from nhrpd_py.runtime.vici.sas.children import Pair
from nhrpd_py.runtime.vici.sas.messages import children_of, is_ours, pair_of
from nhrpd_py.runtime.vici.wire.connection import (
    CommandChannel,
    Section,
    ViciRefusedError,
    number,
    sections,
    text,
)
from nhrpd_py.runtime.vici.wire.requests import list_sas, terminate

DEADLINE_S = 10.0
CHILDLESS_S = 2.0
"""An IKE_SA without a CHILD_SA after this time will have none."""


class AttemptState(Enum):
    """How far charon has come with an attempt."""

    NEGOTIATING = "negotiating"
    ESTABLISHED = "established"
    """The IKE_SA is up, its CHILD_SA is not."""
    UP = "up"
    FAILED = "failed"


class Attempt:
    """One attempt between two addresses; charon's events change its state.

    ::

        NEGOTIATING ── IKE_SA is up ───────────────────────► ESTABLISHED
        NEGOTIATING ── IKE_SA is deleted, alert, denied ───► FAILED
        ESTABLISHED ── no CHILD_SA in 2 s, alert, denied ──► FAILED
        any         ── CHILD_SA is installed ──────────────► UP

    One that is neither UP nor FAILED after 10 s is ended by its caller (`wait`).
    """

    def __init__(self, wanted: WantSa) -> None:
        self.pair: Pair = (wanted.local, wanted.remote)
        self.is_server = wanted.server
        """The peer is a server: charon itself compares its identity with the one that the profile
        demands."""
        self.state = AttemptState.NEGOTIATING
        self.failure: str | None = None
        self._established = trio.Event()
        self._ended = trio.Event()

    def came_up(self) -> None:
        """Enters UP: a CHILD_SA between the two addresses is installed."""
        self._enter(AttemptState.UP)

    def fail(self, reason: str) -> None:
        """Enters FAILED, unless the attempt has ended."""
        if self.state in (AttemptState.NEGOTIATING, AttemptState.ESTABLISHED):
            self.failure = reason
            self._enter(AttemptState.FAILED)

    def happened(self, event: str, message: Section) -> None:
        """Handles the events `ike-updown` and `alert`."""
        if event == "alert":
            reason = FATAL_ALERTS.get(text(message.get("type")))
            ikes = message.get("ike-sa")
            if reason is not None and isinstance(ikes, Mapping):
                for _, ike in sections(ikes):
                    if self._is_mine(ike):
                        self.fail(reason)
        elif event == "ike-updown":
            for _, ike in sections(message):
                if not self._is_mine(ike):
                    continue
                if text(message.get("up")) == "yes":
                    if self.state is AttemptState.NEGOTIATING:
                        self._enter(AttemptState.ESTABLISHED)
                elif text(ike.get("state")) == "CONNECTING":
                    self.fail("the negotiation failed")

    async def wait(self) -> bool:
        """Waits until the attempt has ended; returns False when it has not in time."""
        with trio.move_on_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._fail_childless)
                await self._ended.wait()
                nursery.cancel_scope.cancel()
        return self._ended.is_set()

    async def _fail_childless(self) -> None:
        await self._established.wait()
        await trio.sleep(CHILDLESS_S)
        self.fail("the IKE_SA came up, but its CHILD_SA did not")

    def _enter(self, state: AttemptState) -> None:
        self.state = state
        if state is AttemptState.ESTABLISHED:
            self._established.set()
        else:
            self._ended.set()

    def _is_mine(self, ike: Section) -> bool:
        return pair_of(ike) == self.pair and text(ike.get("initiator")) == "yes"


async def initiate(
    commands: CommandChannel, turn: trio.Lock, wanted: WantSa, profile: Profile, *, patched: bool
) -> None:
    """Has charon initiate, without waiting for the result. Raises ViciError."""
    local, remote = (format_address(each) for each in (wanted.local, wanted.remote))
    server, peer_identity = wanted.server, wanted.ipsec.peer_identity
    request = {"child": profile.child, "timeout": "-1"}
    if (
        patched
        and not profile.own
        and not profile.lacks_marks
        and identity_fits(profile, server=server, peer_identity=peer_identity)
    ):
        try:
            await commands.request(
                "initiate", {**request, "ike": profile.name, "my-host": local, "other-host": remote}
            )
        except ViciRefusedError as error:
            if "not found" not in str(error):
                raise
        else:
            return
    name, message = peer_connection(
        profile, wanted.local, wanted.remote, server=server, peer_identity=peer_identity
    )
    # A swanctl --load-conns takes our connection away, and one for another address of ours has the
    # same name: hence always both, with nothing of ours in between.
    async with turn:
        await load_connection(commands, name, message)
        await commands.request("initiate", {**request, "ike": name})


async def clean_up(commands: CommandChannel, pair: Pair, names: Collection[str]) -> bool:
    """Ends the IKE_SAs between two addresses that we initiated and that have no CHILD_SA.

    `names` are those of the profiles' children. Returns whether charon has such a child between the two
    after all. Raises ViciError.
    """
    is_alive = False
    for connection, ike in await list_sas(commands):
        if pair_of(ike) != pair:
            continue
        if any(is_ours(child, names) for _, child in children_of(ike)):
            is_alive = True
            continue
        is_mine = connection in names or connection == connection_name(pair[1])
        if text(ike.get("initiator")) == "yes" and is_mine:
            await terminate(commands, number(ike.get("uniqueid")))
    return is_alive
