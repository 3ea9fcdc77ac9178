"""What a configuration needs of the parts of the daemon that not all need; the settings of `Steered`."""

from nhrpd_py.core.config import Config


def protected(config: Config) -> frozenset[str] | None:
    """Returns the names of the interfaces that IPsec protects; None without any."""
    names = {name for name, each in config.interfaces.items() if each.ipsec is not None}
    return frozenset(names) or None


def redirect_group(config: Config) -> int | None:
    """Returns the NFLOG group that the firewall samples for redirects; None if no interface
    sends redirects."""
    wanted = any(interface.redirect for interface in config.interfaces.values())
    return config.nflog.redirect_group if wanted else None


def multicast_group(config: Config) -> int | None:
    """Returns the NFLOG group by which multicast comes; None if no interface replicates it."""
    wanted = any(interface.multicast for interface in config.interfaces.values())
    return config.nflog.multicast_group if wanted else None


def interfaces(config: Config) -> bool | None:
    """Returns whether there is any tunnel; None without."""
    return bool(config.interfaces) or None


def filtered(config: Config) -> frozenset[str]:
    """Returns the names of the interfaces that have a source filter."""
    return frozenset(
        name
        for name, each in config.interfaces.items()
        if each.ipsec is not None and each.source_filter is not False
    )
