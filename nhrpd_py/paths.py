"""Where the daemon's files are unless its configuration says otherwise.

The daemon, its configuration and `nhrpctl` have these from here. It imports next to nothing, so that
`nhrpctl` starts quickly.
"""

import os

CONFIG_FILE = "/etc/nhrpd/nhrpd.toml"
CONTROL_SOCKET = "/run/nhrpd/nhrpd.sock"
STATE_DIRECTORY = "/var/lib/nhrpd"


def control_socket() -> str:
    """The daemon's default: in the directory that systemd made for it (systemd.exec(5)), if any."""
    directory = _first_of("RUNTIME_DIRECTORY")
    return f"{directory}/nhrpd.sock" if directory else CONTROL_SOCKET


def state_directory() -> str:
    """The daemon's default: the directory that systemd made for it, if any."""
    return _first_of("STATE_DIRECTORY") or STATE_DIRECTORY


def _first_of(variable: str) -> str:
    """The first of the directories that systemd lists in a variable; empty without systemd."""
    return os.environ.get(variable, "").partition(":")[0]
