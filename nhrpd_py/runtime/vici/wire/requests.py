"""Requests that several callers make of charon, each in one form only."""

from typing import TypeAlias

from nhrpd_py.runtime.vici.wire.connection import (
    CommandChannel,
    Section,
    ViciConnection,
    ViciRefusedError,
    sections,
)

Channel: TypeAlias = ViciConnection | CommandChannel
"""Either carries requests to charon."""


async def list_sas(channel: Channel) -> list[tuple[str, Section]]:
    """Returns charon's IKE_SAs, each with the name of its connection. Raises ViciError.

    Always with `noblock`: it leaves out an IKE_SA that charon is working on just now. Without it the
    whole answer, and with it one of charon's few threads, would wait for the slowest of them.
    """
    items = await channel.stream("list-sas", "list-sa", {"noblock": "yes"})
    return [each for item in items for each in sections(item)]


async def terminate(channel: Channel, ike_id: int) -> None:
    """Ends an IKE_SA by its uniqueid without waiting for the peer. Raises ViciLostError."""
    message = {"ike-id": str(ike_id), "force": "yes", "timeout": "-1"}
    try:
        await channel.request("terminate", message)
    except ViciRefusedError:
        return  # it ended meanwhile


async def unload_connection(channel: Channel, name: str) -> None:
    """Takes a connection out of charon, if it still has it. Raises ViciLostError."""
    try:
        await channel.request("unload-conn", {"name": name})
    except ViciRefusedError:
        return  # somebody else was faster
