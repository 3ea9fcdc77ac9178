"""Runs the programs that a machine may have, and says why one told nothing."""

import json
import os
import shutil
import subprocess
from typing import Any

from nhrpd_py.cli.check.findings import Unread

LIMIT_S = 10.0
SBIN = "/usr/sbin:/sbin:/usr/local/sbin"
"""The directories that an unprivileged user's PATH lacks."""
SHOWN = 200
"""How much of a program's complaint is repeated, in characters."""


def search_path() -> str:
    return f"{os.environ.get('PATH', '/usr/bin:/bin')}:{SBIN}"


def is_there(command: str) -> bool:
    return shutil.which(command, path=search_path()) is not None


def output_of(*argv: str) -> str | Unread:
    """Returns what a command prints; an Unread when it fails."""
    found = shutil.which(argv[0], path=search_path())
    if found is None:
        return Unread(f"{argv[0]} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 (fixed commands)
            [found, *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=LIMIT_S,
            env={**os.environ, "PATH": search_path(), "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return Unread(f"{argv[0]} did not end within {LIMIT_S:g} s")
    except OSError as error:
        return Unread(f"{argv[0]}: {error.strerror or error}")
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[:SHOWN]
        return Unread(f"{argv[0]} failed: {said or f'status {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def json_of(*argv: str) -> Any:
    """Returns what a command prints as JSON, parsed; an Unread when that fails."""
    text = output_of(*argv)
    if isinstance(text, Unread):
        return text
    try:
        return json.loads(text) if text.strip() else []
    except ValueError:
        return Unread(f"{argv[0]} printed no JSON")
