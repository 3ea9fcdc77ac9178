"""Requests to charon that have several callers."""

from typing import TypeAlias

from nhrpd_py.runtime.vici.wire.connection import (
    CommandChannel,
    Section,
    ViciConnection,
    ViciRefusedError,
    sections,
)

Channel: TypeAlias = ViciConnection | CommandChannel
"""A connection that carries requests to charon."""


async def list_sas(channel: Channel) -> list[tuple[str, Section]]:
    """Returns charon's IKE_SAs, each with the name of its connection. Raises ViciError.

    Always with `noblock`: the list leaves out IKE_SAs that charon is working on. Otherwise the
    whole answer, and one of charon's few threads, would wait for the slowest of them.
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
        return  # it is gone already
