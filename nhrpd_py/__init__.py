"""The NHRP control-plane daemon of a Linux DMVPN (RFC 2332)."""

__version__ = "0.1.0"
