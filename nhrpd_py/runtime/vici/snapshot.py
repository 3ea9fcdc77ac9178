"""Rows for `nhrpctl show sas` and `show peers`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nhrpd_py.core.address import format_address
from nhrpd_py.runtime.vici.attempts.wanted import Wish
from nhrpd_py.runtime.vici.sas.children import Pair
from nhrpd_py.runtime.vici.sas.table import (
    LIVE_STATES,
    AssociationTable,
    children_of,
    pair_of,
)
from nhrpd_py.runtime.vici.wire.connection import Section, number, text


@dataclass(frozen=True, slots=True, kw_only=True)
class SaRow:
    """One CHILD_SA, or one wish that has none (`state` is then wanted, trying or failed)."""

    nbma: str
    local_nbma: str
    identity: str | None = None
    child_id: int | None = None
    ike_id: int | None = None
    mode: str | None = None
    encap: bool = False
    initiator: bool | None = None
    state: str
    spi_in: str | None = None
    spi_out: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    established_s: int | None = None
    """Age of the CHILD_SA."""
    rekey_in_s: int | None = None
    profile: str
    connection: str | None = None
    last_error: str | None = None
    attempts: int = 0
    next_attempt_in_s: float | None = None


def rows(
    ikes: Iterable[tuple[str, Section]],
    table: AssociationTable,
    wishes: Sequence[Wish],
    now: float,
) -> list[SaRow]:
    """What charon has, what it left behind, and what is wanted still."""
    by_pair = {each.pair: each for each in wishes}
    found: list[SaRow] = []
    shown: set[Pair] = set()
    for connection, ike in ikes:
        pair = pair_of(ike)
        for _, child in children_of(ike):
            if pair is not None and text(child.get("name")) in table.names:
                found.append(_row(connection, ike, child, pair, by_pair.get(pair)))
                if text(child.get("state")) in LIVE_STATES:
                    shown.add(pair)
    for orphan in table.orphans():
        shown.add(orphan.pair)
        found.append(
            SaRow(
                local_nbma=format_address(orphan.local),
                nbma=format_address(orphan.remote),
                identity=orphan.identity,
                child_id=orphan.unique_id,
                mode="TRANSPORT",
                state="orphaned",
                spi_in=orphan.spi_in,
                spi_out=orphan.spi_out,
                profile="",
            )
        )
    found.extend(_wanted(wish, now) for wish in wishes if wish.pair not in shown)
    return sorted(found, key=lambda row: (row.local_nbma, row.nbma, row.child_id or 0))


def _row(connection: str, ike: Section, child: Section, pair: Pair, wish: Wish | None) -> SaRow:
    local, remote = pair
    return SaRow(
        local_nbma=format_address(local),
        nbma=format_address(remote),
        identity=text(ike.get("remote-eap-id")) or text(ike.get("remote-id")),
        child_id=number(child.get("uniqueid")),
        ike_id=number(ike.get("uniqueid")),
        mode=text(child.get("mode")),
        encap=text(child.get("encap")) == "yes",
        initiator=text(ike.get("initiator")) == "yes",
        state=text(child.get("state")),
        spi_in=text(child.get("spi-in")) or None,
        spi_out=text(child.get("spi-out")) or None,
        bytes_in=number(child.get("bytes-in")),
        bytes_out=number(child.get("bytes-out")),
        packets_in=number(child.get("packets-in")),
        packets_out=number(child.get("packets-out")),
        established_s=number(child.get("install-time")),
        rekey_in_s=number(child.get("rekey-time")) if "rekey-time" in child else None,
        profile=text(child.get("name")),
        connection=connection,
        last_error=None if wish is None else wish.reason,
        attempts=0 if wish is None else wish.attempts,
    )


def _wanted(wish: Wish, now: float) -> SaRow:
    state = "trying" if wish.trying else "failed" if wish.failures else "wanted"
    return SaRow(
        local_nbma=format_address(wish.effect.local),
        nbma=format_address(wish.effect.remote),
        state=state,
        profile=wish.profile,
        last_error=wish.reason,
        attempts=wish.attempts,
        next_attempt_in_s=None if wish.due is None else max(0.0, wish.due - now),
    )
