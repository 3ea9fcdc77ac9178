"""A shell in the lab: `tools/lab-shell`. Also what `tools/demo --keep` ends in, by `interact`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.lab.guest import REPOSITORY, LabUnavailableError, inside, place
from tools.lab.nodes import FrrNode, NhrpdNode, dmvpn
from tools.lab.topology import Lab

DAY_S = 86400.0

_FUNCTIONS = """
ctl() {{ local node=$1; shift; {python} -m nhrpd_py.cli.ctl -s "{lab}/$node/nhrpd.sock" "$@"; }}
PS1='lab:\\w# '
"""


def interact(lab: Lab) -> None:
    """Runs a shell on the terminal, with commands named after the nodes; returns when it ends."""
    nodes = [name for node in lab.nodes for name in (node.name, node.lan.name)]
    functions = [f'{name}() {{ ip netns exec {name} "$@"; }}\n' for name in nodes]
    startup = lab.directory / "bashrc"
    shell = _FUNCTIONS.format(python=sys.executable, lab=lab.directory)
    startup.write_text("".join(functions) + shell)
    print(f"Nodes and the LANs behind them: {' '.join(nodes)}. Type a name before a command:")
    first, last = lab.nodes[-2], lab.nodes[-1]
    print(f"  {first.lan.name} ping {last.lan_host}")
    print(f"  {first.name} ip route")
    if isinstance(first, NhrpdNode):
        print(f"  ctl {first.name} show cache")
    else:
        print(f"  {first.name} vtysh -N {first.name} -c 'show ip nhrp cache'")
    print(f"Configuration and logs: {lab.directory}. The lab ends with this shell.")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(["bash", "--rcfile", str(startup), "-i"], check=False, env=environment)


def main() -> int:
    """Boots the lab and, inside it, brings up the nodes."""
    parser = argparse.ArgumentParser(prog="lab-shell", description=__doc__)
    parser.add_argument("--frr", action="store_true", help="FRR on every node")
    parser.add_argument("--ipv6", action="store_true", help="also an IPv6 overlay")
    arguments = parser.parse_args()
    if inside():
        kind = FrrNode if arguments.frr else NhrpdNode
        with Lab(ipv6=arguments.ipv6) as lab:
            interact(dmvpn(lab, hub=kind, spokes=(kind, kind)))
        return 0
    print("Booting the lab…")
    with tempfile.TemporaryDirectory(prefix="nhrpd-lab-") as share:
        try:
            where = place(Path(share), limit_s=DAY_S)
        except LabUnavailableError as error:
            print(f"lab-shell: {error}", file=sys.stderr)
            return 1
        return where.shell([sys.executable, "-m", "tools.lab.shell", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
