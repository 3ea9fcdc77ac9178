"""One machine's charon: which SAs it has, which were reported to the daemon, which are wanted."""

from dataclasses import dataclass, field

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import DropSa, EndSa, WantSa
from nhrpd_py.core.events import Event, IpsecReady, SaGone, SaInstalled

Pair = tuple[Address, Address]
"""Local and remote NBMA address."""


@dataclass(slots=True, eq=False)
class Ike:
    """One machine's charon."""

    sas: dict[Pair, set[int]] = field(default_factory=dict)
    known: dict[Pair, set[int]] = field(default_factory=dict)
    wanted: dict[Pair, WantSa] = field(default_factory=dict)
    pending: set[Pair] = field(default_factory=set)
    back_off_s: dict[Pair, float] = field(default_factory=dict)
    running: bool = True
    told: bool = False
    """IpsecReady was reported to the daemon."""
    attempts: int = 0

    def forget_daemon(self) -> None:
        """Notes that the daemon ended: its requests are gone, and the next daemon knows no SAs."""
        self.wanted.clear()
        self.known.clear()
        self.told = False

    def carry_out(self, effect: WantSa | DropSa | EndSa) -> None:
        """Keeps the daemon's requests for SAs."""
        match effect:
            case WantSa():
                self.wanted[effect.local, effect.remote] = effect
            case DropSa():
                assert self.wanted.pop((effect.local, effect.remote), None), "dropped in vain"
            case EndSa():
                pass

    def hear(self, event: Event) -> None:
        """Keeps what is reported to the daemon."""
        match event:
            case SaInstalled(it):
                self.known.setdefault((it.local, it.remote), set()).add(it.id)
            case SaGone(local, remote, identifier, _):
                ids = self.known.get((local, remote), set())
                ids.discard(identifier)
                if not ids:
                    self.known.pop((local, remote), None)
            case IpsecReady():
                self.told = True
            case _:
                pass
