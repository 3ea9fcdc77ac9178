"""The profiles that the configuration names, with their present content."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

from nhrpd_py.core.config import Config, IpsecConfig
from nhrpd_py.runtime.vici.profiles.profile import Profile, ProfileError, find_profile
from nhrpd_py.runtime.vici.profiles.swanctl import SwanctlConf, SwanctlReader
from nhrpd_py.runtime.vici.wire.connection import ViciError


class SwanctlSource(Protocol):
    """A source of the present connections of a swanctl.conf."""

    path: str

    async def get(self) -> SwanctlConf: ...


OpenSwanctl: TypeAlias = Callable[[Config], SwanctlSource]
"""Opens the swanctl.conf that a configuration names."""


def swanctl_of(config: Config) -> SwanctlReader:
    """Returns a reader of the swanctl.conf that a configuration names; its socket is below the run
    directory."""
    run_directory = Path(config.daemon.control_socket).parent
    return SwanctlReader(config.vici.swanctl_config, directory=run_directory)


@dataclass(frozen=True, slots=True)
class ProfileRead:
    """A profile that was just read, and how it differs from before."""

    profile: Profile
    is_usable_again: bool
    """It could not be used when it was last read, and can now."""
    has_new_identity: bool
    """It demands another identity of servers than before."""


async def faults_of(config: Config, open_swanctl: OpenSwanctl = swanctl_of) -> list[str]:
    """Returns the profiles of a configuration that do not exist, or cannot be used, a line each with
    the path of the setting.

    Where swanctl.conf cannot be read at present, nothing is known of its connections, and none of
    them is a fault: strongSwan may come later.
    """
    named = {
        f"interface.{each.name}.ipsec.{key}": name
        for each in config.interfaces.values()
        if each.ipsec is not None
        for key, name in (
            ("profile", each.ipsec.profile),
            ("fallback-profile", each.ipsec.fallback_profile),
        )
        if name is not None
    }
    if not named:
        return []
    source = open_swanctl(config)
    own = config.profiles
    foreign = any(name not in own for name in named.values())
    swanctl = await source.get() if foreign else SwanctlConf()
    faults = []
    for setting, name in named.items():
        if name not in own and name not in swanctl.connections and swanctl.problem is not None:
            continue
        try:
            find_profile(name, swanctl, source.path, own)
        except ProfileError as error:
            faults.append(f"{setting}: {error}")
    return faults


class Profiles:
    """Reads the profiles that interfaces use, and remembers what each demands of a server."""

    def __init__(
        self, config: Config, open_swanctl: OpenSwanctl, on_read: Callable[[ProfileRead], None]
    ) -> None:
        """`on_read` is called for each profile that was read and can be used."""
        self._open_swanctl = open_swanctl
        self._on_read = on_read
        self._demanded: dict[str, str | None] = {}
        """Profile → identity that it demands of a server; kept in case the file cannot be read
        later."""
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Takes another configuration; what the profiles demanded so far is kept."""
        self._config = config
        self._marked = {
            name
            for each in config.interfaces.values()
            if each.ipsec is not None and each.source_filter is not False
            for name in (each.ipsec.profile, each.ipsec.fallback_profile)
        }
        self._swanctl = self._open_swanctl(config)
        self._unusable: set[str] = set()

    def _uses(self) -> Iterator[tuple[str, IpsecConfig]]:
        for each in self._config.interfaces.values():
            if each.ipsec is not None:
                yield each.ipsec.profile, each.ipsec
                if each.ipsec.fallback_profile is not None:
                    yield each.ipsec.fallback_profile, each.ipsec

    @property
    def names(self) -> frozenset[str]:
        """Returns the names of the profiles that interfaces use."""
        return frozenset(name for name, _ in self._uses())

    def server_identities(self, ipsec: IpsecConfig) -> frozenset[str]:
        """Returns the identities, or patterns, one of which a server's must fit.

        Empty where a server may have any identity, or a profile was never read.
        """
        names = {ipsec.profile, ipsec.fallback_profile or ipsec.profile}
        identities = {self._demanded.get(name) for name in names}
        if None in identities:
            return frozenset()
        return frozenset(each for each in identities if each)

    async def get(self, name: str) -> Profile:
        """Reads a profile. Raises ProfileError."""
        own = self._config.profiles
        swanctl = SwanctlConf() if name in own else await self._swanctl.get()
        try:
            profile = find_profile(name, swanctl, self._swanctl.path, own)
        except ViciError:
            self._unusable.add(name)
            raise
        profile = replace(profile, marks=name in self._marked)
        read = ProfileRead(
            profile,
            is_usable_again=name in self._unusable,
            has_new_identity=name not in self._demanded or self._demanded[name] != profile.demanded,
        )
        self._unusable.discard(name)
        self._demanded[name] = profile.demanded
        self._on_read(read)
        return profile

    async def usable(self) -> list[tuple[Profile, str | None]]:
        """Reads all profiles; returns the usable ones, each with the identity that peers need."""
        found: dict[str, tuple[Profile, str | None]] = {}
        for name, ipsec in self._uses():
            try:
                found[name] = await self.get(name), ipsec.peer_identity
            except ViciError:
                continue  # each attempt with it reports the problem
        return list(found.values())
