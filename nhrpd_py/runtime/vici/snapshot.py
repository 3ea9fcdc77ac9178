"""The rows of `nhrpctl show sas`."""

from collections.abc import Iterable, Sequence

from nhrpd_py.core.address import format_address
from nhrpd_py.core.rows import SaRow
from nhrpd_py.runtime.vici.attempts.wanted import WantedSa, WantedState
from nhrpd_py.runtime.vici.sas.children import Pair
from nhrpd_py.runtime.vici.sas.messages import LIVE_STATES, children_of, mark_of, pair_of
from nhrpd_py.runtime.vici.sas.table import AssociationTable
from nhrpd_py.runtime.vici.wire.connection import Section, number, text


def rows(
    ikes: Iterable[tuple[str, Section]],
    table: AssociationTable,
    wanted: Sequence[WantedSa],
    now: float,
) -> list[SaRow]:
    """Returns rows of charon's SAs, of SAs that only the kernel has, and of wanted SAs that are
    missing."""
    by_pair = {each.pair: each for each in wanted}
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
                mark=orphan.mark or None,
                profile="",
            )
        )
    found.extend(_missing(each, now) for each in wanted if each.pair not in shown)
    return sorted(found, key=lambda row: (row.local_nbma, row.nbma, row.child_id or 0))


def _row(
    connection: str, ike: Section, child: Section, pair: Pair, wanted: WantedSa | None
) -> SaRow:
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
        mark=mark_of(child) or None,
        bytes_in=number(child.get("bytes-in")),
        bytes_out=number(child.get("bytes-out")),
        packets_in=number(child.get("packets-in")),
        packets_out=number(child.get("packets-out")),
        established_s=number(child.get("install-time")),
        rekey_in_s=number(child.get("rekey-time")) if "rekey-time" in child else None,
        profile=text(child.get("name")),
        connection=connection,
        last_error=None if wanted is None else wanted.last_error,
        attempts=0 if wanted is None else wanted.attempts,
    )


def _missing(wanted: WantedSa, now: float) -> SaRow:
    is_tried = wanted.state is WantedState.TRYING
    state = "trying" if is_tried else "failed" if wanted.failures else "wanted"
    next_at = wanted.next_attempt_at
    return SaRow(
        local_nbma=format_address(wanted.effect.local),
        nbma=format_address(wanted.effect.remote),
        state=state,
        profile=wanted.profile,
        last_error=wanted.last_error,
        attempts=wanted.attempts,
        next_attempt_in_s=None if next_at is None else max(0.0, next_at - now),
    )
