"""Which tunnels have a source filter in the kernel, in a file of the state directory."""

import json
from pathlib import Path

import trio

FILE_NAME = "source-filters.json"


class Record:
    """The names of the tunnels; those of an earlier run are known after a crash. A file that cannot be
    read or written is as good as none: only what a crash left behind is then not found."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / FILE_NAME
        self.names: set[str] = set()
        try:
            names = json.loads(self._path.read_text())
            self.names.update(each for each in names if isinstance(each, str))
        except (OSError, ValueError, TypeError, RecursionError):
            pass

    async def add(self, name: str) -> None:
        """Notes a filter, before it is written."""
        if name not in self.names:
            self.names.add(name)
            await self._save()

    async def remove(self, name: str) -> None:
        """Notes that a filter was removed."""
        if name in self.names:
            self.names.discard(name)
            await self._save()

    async def _save(self) -> None:
        await trio.to_thread.run_sync(self._write, json.dumps(sorted(self.names)))

    def _write(self, text: str) -> None:
        beside = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.unlink(missing_ok=True)  # of a killed run; or a symbolic link
            with beside.open("x", encoding="ascii") as file:
                file.write(f"{text}\n")
            beside.replace(self._path)
        except OSError:
            return
