"""The command `nhrpd`: the daemon, in the foreground.

Exit 0 after a clean stop (and for a good file with `--check`), 1 when it cannot run here or failed,
2 when the command line or the configuration is wrong. Signals are caught before anything else is
imported: what takes the longest of the start is no time at which one may end the daemon badly.
"""

import sys
from collections.abc import Sequence

from nhrpd_py.runtime import late_imports
from nhrpd_py.runtime.signals import EarlySignals, StopRequested


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        with EarlySignals() as signals:
            late_imports.install()
            from nhrpd_py.cli import startup  # noqa: PLC0415 (see the module's docstring)

            return startup.run(arguments, signals)
    except StopRequested:
        return 0


if __name__ == "__main__":
    sys.exit(main())
