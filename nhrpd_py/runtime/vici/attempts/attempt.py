"""One attempt to get a CHILD_SA with a peer, and the watch over what becomes of it."""

from collections.abc import Collection, Mapping

import trio

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.runtime.vici.attempts.reasons import FATAL_ALERTS
from nhrpd_py.runtime.vici.attempts.wanted import Wish
from nhrpd_py.runtime.vici.profiles.profile import (
    Profile,
    connection_name,
    identity_fits,
    peer_connection,
)
from nhrpd_py.runtime.vici.sas.children import Pair
from nhrpd_py.runtime.vici.sas.table import (
    LIVE_STATES,
    TRANSPORT_MODES,
    children_of,
    pair_of,
)
from nhrpd_py.runtime.vici.wire.connection import (
    Commands,
    Section,
    ViciRefusedError,
    sections,
    text,
)

DEADLINE_S = 10.0
CHILDLESS_S = 2.0
"""An IKE_SA that has no CHILD_SA by then will have none."""
LATE_WORDS_S = 0.1
"""charon's log comes by another connection, and may be late by this."""


class Watch:
    """What charon tells of a pair while an attempt is under way."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.server = False
        """charon compares the peer's identity with the one that the profile demands of a server."""
        self.up = False
        self.lost = False
        """Nothing more is heard of it: the connection to charon broke."""
        self.failure: str | None = None
        self.done = trio.Event()
        self.established_at: float | None = None
        self.established = trio.Event()

    def came_up(self) -> None:
        self.up = True
        self.done.set()

    def lose(self) -> None:
        self.lost = True
        self.done.set()

    def fail(self, reason: str) -> None:
        if not self.done.is_set():
            self.failure = reason
            self.done.set()

    def happened(self, event: str, message: Section) -> None:
        """Takes in `ike-updown` and `alert`."""
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
                    self.established.set()
                elif text(ike.get("state")) == "CONNECTING":
                    self.fail("the negotiation failed")

    def _is_mine(self, ike: Section) -> bool:
        return pair_of(ike) == self.pair and text(ike.get("initiator")) == "yes"


async def initiate(
    commands: Commands, turn: trio.Lock, wish: Wish, profile: Profile, *, patched: bool
) -> None:
    """Has charon begin; returns at once. Raises ViciError."""
    effect = wish.effect
    local, remote = (format_address(each) for each in (effect.local, effect.remote))
    server, peer_identity = effect.server, effect.ipsec.peer_identity
    request = {"child": profile.child, "timeout": "-1"}
    if (
        patched
        and not profile.own
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
        profile, effect.local, effect.remote, server=server, peer_identity=peer_identity
    )
    # A swanctl --load-conns takes our connection away, and one for another address of ours has the
    # same name: hence always both, with nothing of ours in between.
    async with turn:
        await commands.request("load-conn", {name: message})
        await commands.request("initiate", {**request, "ike": name})


async def wait_for(watch: Watch) -> bool:
    """Waits until the attempt has an end; False when it was out of time."""
    with trio.move_on_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_childless, watch)
            await watch.done.wait()
            nursery.cancel_scope.cancel()
    return watch.done.is_set()


async def _childless(watch: Watch) -> None:
    await watch.established.wait()
    await trio.sleep(CHILDLESS_S)
    watch.fail("the IKE_SA came up, but its CHILD_SA did not")


async def clean_up(commands: Commands, pair: Pair, names: Collection[str]) -> bool:
    """Ends what is half-open between two addresses and was initiated by us.

    Tells whether charon has a child of ours between them after all. Raises ViciError.
    """
    alive = False
    for item in await commands.stream("list-sas", "list-sa", {"noblock": "yes"}):
        for connection, ike in sections(item):
            if pair_of(ike) != pair:
                continue
            children = children_of(ike)
            if any(is_ours(child, names) for _, child in children):
                alive = True
                continue
            ours = connection in names or connection == connection_name(pair[1])
            if text(ike.get("initiator")) == "yes" and ours:
                await terminate(commands, text(ike.get("uniqueid")))
    return alive


def is_ours(child: Section, names: Collection[str]) -> bool:
    """Tells a CHILD_SA that the engine is to know."""
    return (
        text(child.get("name")) in names
        and text(child.get("state")) in LIVE_STATES
        and text(child.get("mode")) in TRANSPORT_MODES
    )


async def terminate(commands: Commands, ike_id: str) -> None:
    """Ends an IKE_SA by its number without waiting for the peer. Raises ViciLostError."""
    try:
        await commands.request("terminate", {"ike-id": ike_id, "force": "yes", "timeout": "-1"})
    except ViciRefusedError:
        return  # it ended meanwhile


async def unload(commands: Commands, remote: Address) -> None:
    """Takes a peer's connection out of charon, if it still has it. Raises ViciLostError."""
    try:
        await commands.request("unload-conn", {"name": connection_name(remote)})
    except ViciRefusedError:
        return
