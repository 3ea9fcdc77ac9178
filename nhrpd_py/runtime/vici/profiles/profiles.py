"""The profiles that the configuration names, as they are now."""

from collections.abc import Callable, Iterator

from nhrpd_py.core.config import Config, IpsecConfig
from nhrpd_py.runtime.vici.profiles.profile import Profile, find_profile
from nhrpd_py.runtime.vici.profiles.swanctl import Template, Templates
from nhrpd_py.runtime.vici.wire.connection import ViciError


class Profiles:
    """Looks profiles up, and keeps what is wrong with each."""

    def __init__(
        self, config: Config, templates: Templates, demanded: dict[str, str | None]
    ) -> None:
        """`demanded` keeps what each profile demands of servers, for files that cannot be read later."""
        self._config = config
        self._templates = templates
        self.problems: dict[str, tuple[str, ...]] = {}
        """By name: what is wrong or doubtful; nothing when all is well."""
        self.on_child: Callable[[str], None] = lambda _name: None
        """Is told the name of each profile's child."""
        self.on_mended: Callable[[str], None] = lambda _name: None
        """Is told of each profile that could not be used before."""
        self._unusable: set[str] = set()
        self.on_identity: Callable[[str], None] = lambda _name: None
        """Is told of each profile that demands another identity of servers than was known."""
        self._demanded = demanded

    def _uses(self) -> Iterator[tuple[str, IpsecConfig]]:
        for each in self._config.interfaces.values():
            if each.ipsec is not None:
                yield each.ipsec.profile, each.ipsec
                if each.ipsec.fallback_profile is not None:
                    yield each.ipsec.fallback_profile, each.ipsec

    @property
    def names(self) -> frozenset[str]:
        """All that interfaces use."""
        return frozenset(name for name, _ in self._uses())

    def server_identities(self, ipsec: IpsecConfig) -> frozenset[str]:
        """The identities, or patterns, of which one must fit a server's; empty where it may have any, or a
        profile was never read."""
        names = {ipsec.profile, ipsec.fallback_profile or ipsec.profile}
        identities = {self._demanded.get(name) for name in names}
        return (
            frozenset(each for each in identities if each)
            if None not in identities
            else frozenset()
        )

    async def get(self, name: str) -> Profile:
        """Raises ProfileError."""
        own = self._config.profiles
        template = Template() if name in own else await self._templates.get()
        try:
            profile = find_profile(name, template, self._templates.config, own)
        except ViciError as error:
            self.problems[name] = (str(error),)
            self._unusable.add(name)
            raise
        self.problems[name] = profile.warnings
        self.on_child(profile.child)
        if name not in self._demanded or self._demanded[name] != profile.demanded:
            self._demanded[name] = profile.demanded
            self.on_identity(name)
        if name in self._unusable:
            self._unusable.remove(name)
            self.on_mended(name)
        return profile

    async def usable(self) -> list[tuple[Profile, str | None]]:
        """Those that can be used, each with the identity that peers need."""
        found: dict[str, tuple[Profile, str | None]] = {}
        for name, ipsec in self._uses():
            try:
                found[name] = await self.get(name), ipsec.peer_identity
            except ViciError:
                continue  # told by `problems`, and by each attempt
        return list(found.values())
