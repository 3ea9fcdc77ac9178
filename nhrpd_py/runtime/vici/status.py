"""What is known of charon itself."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Status:
    """What `nhrpctl check` wants to know of charon."""

    socket: str
    connected: bool = False
    version: str = ""
    patched: bool = False
    alerts: bool = False
    problem: str | None = None
    """Why it cannot be reached."""
    profiles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By name: what is wrong or doubtful about each; nothing when it is well."""
