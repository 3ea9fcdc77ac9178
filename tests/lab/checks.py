"""What the tests of `nhrpctl check` have in common: to see a finding, to obey its remedy."""

import json
import shutil
from pathlib import Path
from typing import Any

from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until

WAIT_S = 15.0
PLACES = {"ADDRESS/32": "10.255.255.1/32", "KEY": "42", "UNDERLAY": "eth0"}
"""What a remedy leaves to its reader."""


def own_iproute2(node: ClassicNode, directory: Path) -> None:
    """Lets the node write below /etc/iproute2 without the machine's noticing."""
    node.namespace.run("mkdir", "-p", "/etc/iproute2")
    shutil.copytree("/etc/iproute2", directory, dirs_exist_ok=True)
    node.namespace.bind(directory, Path("/etc/iproute2"))


def check(node: ClassicNode, *options: str) -> list[dict[str, Any]]:
    done = node.run_ctl("--json", "check", "-c", str(node.config_path), *options, check=False)
    assert done.returncode in (0, 1), done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["check"]
    assert done.returncode == any(row["state"] == "problem" for row in rows)
    return rows


def seen(node: ClassicNode, words: str) -> dict[str, Any] | None:
    """The finding with these words, unless all is well."""
    found = [row for row in check(node) if row["state"] != "ok" and words in row["finding"]]
    # what the daemon complains of comes last: its own log is all that it can point to
    return min(found, key=lambda row: row["area"] == "daemon", default=None)


def breaks(node: ClassicNode, words: str, state: str) -> str:
    """Waits for the finding and returns its remedy."""
    row = wait_until(lambda: seen(node, words), WAIT_S, f"the finding {words!r}")
    assert row["state"] == state, row
    return str(row["remedy"])


def mended(node: ClassicNode, words: str, limit_s: float = WAIT_S) -> None:
    wait_until(lambda: seen(node, words) is None, limit_s, f"no finding {words!r}")


def obey(node: ClassicNode, remedy: str) -> None:
    """Types the remedy in, as the reader of it would."""
    for place, value in PLACES.items():
        remedy = remedy.replace(place, value)
    node.namespace.run("sh", "-ec", remedy)
