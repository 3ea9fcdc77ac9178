"""Programs of the packet filter, of which only the words and the input are of interest."""

from pathlib import Path


class Programs:
    """A directory of programs that note their words and their input, and say what they are to say."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, name: str, *, says: str = "", complains: str = "", status: int = 0) -> None:
        """Adds a program; each line of what it says may depend on its last word: `WORD> LINE`."""
        (self.directory / f"{name}.says").write_text(says)
        program = self.directory / name
        program.write_text(
            f"#!/bin/sh\n"
            f'echo "$0 $*" | sed "s,{self.directory}/,," >> {self.directory}/log\n'
            f"[ -t 0 ] || cat >> {self.directory}/log\n"
            f"for word; do :; done\n"
            f'sed -n "s/^$word> //p" {self.directory}/{name}.says\n'
            f'echo "{complains}" >&2\n'
            f"exit {status}\n"
        )
        program.chmod(0o755)

    def log(self) -> list[str]:
        path = self.directory / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines
