"""The view of problems: everything that is wrong at present and known here, a row each, with its reason."""

from collections.abc import Iterator

from nhrpd_py.core.address import Address, Afi, format_address
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.tunnels import Tunnels
from nhrpd_py.core.registration.servers import NhsState
from nhrpd_py.core.rows import ProblemRow
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.paths import PathState


def problem_rows(tunnels: Tunnels, interface: str | None, now: float) -> Iterator[ProblemRow]:
    for tunnel in tunnels:
        if interface not in (None, tunnel.interface.name):
            continue
        yield from _of_interface(tunnel.interface, now)
        for instance in tunnel:
            yield from _of_servers(instance)
            yield from _of_peers(instance, now)


def _row(
    interface: Interface,
    kind: str,
    reason: str,
    *,
    nbma: Address = b"",
    subject: str | None = None,
    afi: Afi | None = None,
) -> ProblemRow:
    return ProblemRow(
        interface=interface.name,
        afi=afi,
        kind=kind,
        nbma=format_address(nbma) or None,
        subject=subject,
        reason=reason,
    )


def _of_interface(interface: Interface, now: float) -> Iterator[ProblemRow]:
    circuits = interface.circuits
    deserted = circuits.deserted(now)
    losing = interface.losing
    if interface.link_problem:
        is_refusal = interface.refusal is not None and not interface.refusal.on_trial
        yield _row(interface, "refused" if is_refusal else "link", interface.link_problem)
    elif interface.nbma_problem:
        yield _row(interface, "stranded", interface.nbma_problem)
    elif not interface.addresses:
        yield _row(interface, "address", "the tunnel has no address")
    if circuits.charon_problem:
        yield _row(interface, "charon", circuits.charon_problem)
    if deserted:
        yield _row(interface, "deserted", deserted)
    if losing:
        yield _row(interface, "losing", losing)
    for nbma, reason in interface.undelivered.reasons(now):
        yield _row(interface, "undelivered", reason, nbma=nbma)
    for nbma, reason in circuits.failures(now):
        yield _row(interface, "sa-failed", reason, nbma=nbma)
    for nbma, contest in circuits.contests(now).items():
        subject = contest.who[1]
        yield _row(interface, "identity-in-turn", contest.reason, nbma=nbma, subject=subject)


def _of_servers(instance: Instance) -> Iterator[ProblemRow]:
    station = instance.station
    for server in instance.client.servers:
        for each in server.registrations.values():
            if each.is_idle or each.state is NhsState.UP or not each.last_error:
                continue
            kind = "server-refuses" if each.state is NhsState.REFUSED else "server-lost"
            if station.sends_into_itself(each.nbma):
                kind = "server-recursion"
            subject = server.config.nbma
            yield _row(
                station.interface,
                kind,
                each.last_error,
                nbma=each.nbma,
                subject=subject,
                afi=station.afi,
            )
        if server.name_error and station.address:
            reason, subject = server.name_error, server.config.nbma
            yield _row(station.interface, "server-name", reason, subject=subject, afi=station.afi)


def _of_peers(instance: Instance, now: float) -> Iterator[ProblemRow]:
    station = instance.station
    servers = [each.nbma for each in instance.client.servers.registrations()]
    paths = [each.nbma for each in station.paths]
    for nbma in dict.fromkeys([*servers, *station.cache.nbma_addresses(), *paths]):
        one_way = instance.one_way(nbma)
        if one_way:
            subject = station.circuits.identity(nbma)
            yield _row(
                station.interface, "one-way", one_way, nbma=nbma, subject=subject, afi=station.afi
            )
    for path in station.paths:
        if path.state is PathState.FAILED and now < path.held_until:
            subject = format_address(path.protocol)
            yield _row(
                station.interface,
                "path-failed",
                path.reason,
                nbma=path.nbma,
                subject=subject,
                afi=station.afi,
            )
    for contest in station.contests.all(now):
        for nbma in contest.places:
            subject = format_address(contest.protocol)
            yield _row(
                station.interface,
                "address-in-turn",
                contest.reason,
                nbma=nbma,
                subject=subject,
                afi=station.afi,
            )
