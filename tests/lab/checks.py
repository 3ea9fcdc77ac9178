"""What the tests of `nhrpctl check` have in common: to see a finding, to obey its remedy."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

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


def found(rows: list[dict[str, Any]], words: str) -> dict[str, Any] | None:
    """The finding with these words, unless all is well."""
    wrong = [row for row in rows if row["state"] != "ok" and words in row["finding"]]
    # what the daemon complains of comes last: its own log is all that it can point to
    return min(wrong, key=lambda row: row["area"] == "daemon", default=None)


def all_break(node: ClassicNode, states: Mapping[str, str]) -> dict[str, str]:
    """Waits for the findings with these words and returns their remedies; checks their states."""

    seen: dict[str, dict[str, Any]] = {}

    def all_found() -> bool:
        rows = check(node)
        seen.clear()
        seen.update({words: row for words in states if (row := found(rows, words))})
        return seen.keys() == states.keys()

    try:
        wait_until(all_found, WAIT_S, "the findings")
    except AssertionError:
        pytest.fail(f"not found: {states.keys() - seen.keys()}")
    assert {words: row["state"] for words, row in seen.items()} == states, seen
    return {words: str(row["remedy"]) for words, row in seen.items()}


def all_mended(node: ClassicNode, every: Iterable[str], limit_s: float = WAIT_S) -> None:
    """Waits until no finding has any of these words."""

    def left() -> list[str]:
        rows = check(node)
        return [words for words in every if found(rows, words)]

    wait_until(lambda: left() == [], limit_s, f"no findings {list(every)}")


def breaks(node: ClassicNode, words: str, state: str) -> str:
    """Waits for the finding and returns its remedy."""
    return all_break(node, {words: state})[words]


def mended(node: ClassicNode, words: str, limit_s: float = WAIT_S) -> None:
    """Waits until there is no such finding."""
    all_mended(node, [words], limit_s)


def obey(node: ClassicNode, remedy: str) -> None:
    """Types the remedy in, as the reader of it would."""
    for place, value in PLACES.items():
        remedy = remedy.replace(place, value)
    node.namespace.run("sh", "-ec", remedy)
