"""Requests that several callers make of charon, each in one form only."""

from collections.abc import Sequence
from typing import Protocol

from nhrpd_py.runtime.vici.wire.connection import Section, ViciRefusedError, sections


class Requester(Protocol):
    """Whatever carries a request to charon: a VICI connection, or the one that opens itself anew."""

    async def request(self, command: str, message: Section | None = None) -> Section: ...

    async def stream(
        self, command: str, event: str, message: Section | None = None
    ) -> Sequence[Section]: ...


async def list_sas(charon: Requester) -> list[tuple[str, Section]]:
    """Returns charon's IKE_SAs, each with the name of its connection. Raises ViciError.

    Always with `noblock`: it leaves out an IKE_SA that charon is working on just now. Without it the
    whole answer, and with it one of charon's few threads, would wait for the slowest of them.
    """
    items = await charon.stream("list-sas", "list-sa", {"noblock": "yes"})
    return [each for item in items for each in sections(item)]


async def terminate(charon: Requester, ike_id: int) -> None:
    """Ends an IKE_SA by its uniqueid without waiting for the peer. Raises ViciLostError."""
    message = {"ike-id": str(ike_id), "force": "yes", "timeout": "-1"}
    try:
        await charon.request("terminate", message)
    except ViciRefusedError:
        return  # it ended meanwhile


async def unload_connection(charon: Requester, name: str) -> None:
    """Takes a connection out of charon, if it still has it. Raises ViciLostError."""
    try:
        await charon.request("unload-conn", {"name": name})
    except ViciRefusedError:
        return  # somebody else was faster
