"""The commands of operators: flush and resolve."""

from dataclasses import dataclass
from typing import assert_never

from nhrpd_py.core.address import Address, Prefix, afi_of, format_address, host_prefix
from nhrpd_py.core.base.limits import Limits
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.tunnels import Tunnels
from nhrpd_py.core.queries import Command, Flush, FlushWhat, Resolve
from nhrpd_py.core.station.binding import BindingType
from nhrpd_py.core.station.location import Locator, Where
from nhrpd_py.core.station.shortcuts import Shortcut

FLUSHED = "flushed by the operator"


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """The result of a command, for the operator."""

    matched: int = 0
    refused: str | None = None
    detail: str = ""


class CommandHandler:
    """Carries out commands on the tunnels. Called by the engine."""

    __slots__ = ("_limits", "_locator", "_tunnels")

    def __init__(self, tunnels: Tunnels, locator: Locator, limits: Limits) -> None:
        self._tunnels = tunnels
        self._locator = locator
        self._limits = limits

    def carry_out(self, command: Command, now: float) -> CommandOutcome:
        if command.interface is not None and command.interface not in self._tunnels:
            return CommandOutcome(refused=f"no interface {command.interface} in the configuration")
        match command:
            case Flush():
                return self._flush(command, now)
            case Resolve():
                return self._resolve(command, now)
            case _:
                assert_never(command)

    def _flush(self, command: Flush, now: float) -> CommandOutcome:
        matched = 0
        for instance in self._tunnels.instances(command.interface):
            if command.what is not FlushWhat.CACHE:
                matched += self._flush_shortcuts(instance, command)
            if command.what is not FlushWhat.SHORTCUTS:
                matched += self._flush_cache(instance, command, now)
        # The next redirect must be sent at once, so that a flushed shortcut can be found again.
        self._limits.redirects.forget()
        return CommandOutcome(matched=matched, detail=f"{matched} flushed")

    def _flush_shortcuts(self, instance: Instance, command: Flush) -> int:
        matched = 0
        if command.nbma is not None:
            instance.station.circuits.clear_failure(command.nbma)
            instance.station.paths.forgive(command.nbma)
        else:
            instance.station.paths.forgive_all()
            instance.station.circuits.clear_failures()  # of all peers: which prefixes a held-down one has is unknown
        for shortcut in list(instance.shortcuts):
            if _selects(command, shortcut.prefix, shortcut.binding.nbma):
                instance.shortcuts.remove(shortcut, FLUSHED)
                matched += 1
        for resolution in list(instance.requester.resolutions.values()):
            # Whose peer is left alone is not kept: that of another one is found to be so again.
            nbma = command.nbma if resolution.held_down and command.nbma else b""
            if _selects(command, host_prefix(resolution.target), nbma):
                instance.requester.forget(resolution)
                matched += 1
        for binding in list(instance.station.cache):
            if binding.type is BindingType.CACHED and _selects(
                command, host_prefix(binding.protocol), binding.nbma
            ):
                instance.station.cache.remove(binding, FLUSHED)
                matched += 1
        return matched

    def _flush_cache(self, instance: Instance, command: Flush, now: float) -> int:
        """Removes learnt bindings, asks their clients to register again, and registers again with our servers."""
        matched = 0
        for binding in list(instance.station.cache):
            if not _selects(command, host_prefix(binding.protocol), binding.nbma):
                continue
            if binding.type in (BindingType.CACHED, BindingType.DYNAMIC):
                instance.station.cache.remove(binding, FLUSHED)
                matched += 1
            if binding.type is BindingType.DYNAMIC:
                instance.purges.ask_to_register(binding)
            elif binding.type is BindingType.NHS:
                instance.client.register_now(now, binding.nbma)
                matched += 1
        return matched

    def _resolve(self, command: Resolve, now: float) -> CommandOutcome:
        reason = "no interface is ready to ask"
        for instance in self._tunnels.instances(command.interface):
            station = instance.station
            if station.afi is not afi_of(command.address) or not station.ready:
                continue
            shortcut = instance.shortcuts.longest(command.address)
            if shortcut is not None:
                return CommandOutcome(1, detail=_describe(shortcut))
            known = self._known(instance, command.address)
            if known is not None:
                return CommandOutcome(1, detail=known)
            problem = instance.requester.asked(command.address, now)
            if problem is None:
                return CommandOutcome(1, detail=f"asking for {format_address(command.address)}")
            reason = problem
        return CommandOutcome(refused=reason)

    def _known(self, instance: Instance, address: Address) -> str | None:
        location = self._locator.locate(instance.station, address, learnt=True)
        if location.where is Where.NEXT_HOP and location.binding is not None:
            binding = location.binding
            if binding.protocol == address:
                return f"{format_address(address)} is at {format_address(binding.nbma)}"
        return None


def _describe(shortcut: Shortcut) -> str:
    peer = shortcut.binding
    text = f"{shortcut.prefix} via {format_address(peer.protocol)}"
    if peer.installed:
        return text
    return f"{text}, as soon as there is a security association with {format_address(peer.nbma)}"


def _selects(command: Flush, prefix: Prefix, nbma: Address) -> bool:
    wanted = command.protocol
    if wanted is not None and not (
        len(wanted.address) == len(prefix.address)
        and (wanted.covers(prefix) or prefix.covers(wanted))
    ):
        return False
    return command.nbma in (None, nbma)
