"""Runs the programs of the packet filter beside the event loop."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

import trio

from nhrpd_py.runtime.source_filter.table import FilterError

LIMIT_S = 30.0
SHOWN = 300
"""How much of a program's complaint is repeated, in characters."""


def is_there(program: str) -> bool:
    return shutil.which(program) is not None


async def run(*argv: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Returns what a program prints. Raises FilterError."""
    status, output, complaint = await call(argv, stdin, environment or {})
    if status:
        said = " ".join(complaint.split())[:SHOWN]
        raise FilterError(f"{argv[0]}: {said or f'status {status}'}")
    return output


async def call(
    argv: Sequence[str], stdin: str, environment: Mapping[str, str]
) -> tuple[int, str, str]:
    """Runs a program; returns its status, its output and its complaints. Raises FilterError."""
    done: subprocess.CompletedProcess[bytes] | None = None
    with trio.move_on_after(LIMIT_S):
        try:
            done = await trio.run_process(
                list(argv),
                stdin=stdin.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={**os.environ, "LC_ALL": "C", **environment},
            )
        except OSError as error:
            raise FilterError(f"{argv[0]}: {error.strerror or error}") from error
    if done is None:
        raise FilterError(f"{argv[0]} did not end within {LIMIT_S:g} s")
    return (
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )
