"""`nhrpctl import`: the options, and what becomes of them."""

import sys
from typing import BinaryIO

import click

from nhrpd_py.cli.importing.hand_over import hand_over
from nhrpd_py.cli.importing.source import InputError
from nhrpd_py.cli.importing.write import RefusedToWriteError, as_text, into_directory

__all__ = ["InputError", "RefusedToWriteError", "run"]


def run(
    files: tuple[str, ...], told: str | None, tunnel: str | None, output: str | None, *, force: bool
) -> None:
    """Imports files, and prints or writes what comes of it. Raises InputError, RefusedToWriteError."""
    stdin: BinaryIO = sys.stdin.buffer
    imported = hand_over(files, told, tunnel, stdin)
    if output is None:
        for line in as_text(imported):
            click.echo(line)
        return
    for line in into_directory(imported, output, force=force):
        click.echo(line)
    for line in imported.report:
        click.echo(line)
