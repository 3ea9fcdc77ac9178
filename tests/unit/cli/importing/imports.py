"""What the tests of import have in common: samples, and files read back as the daemon reads them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nhrpd_py.cli.importing.hand_over import hand_over
from nhrpd_py.cli.importing.later import LATER
from nhrpd_py.cli.importing.source import InputError
from nhrpd_py.config.load import parse
from nhrpd_py.core.config import Config, InterfaceConfig

SAMPLES = Path(__file__).parent / "samples"
SYSTEMS = ("frr", "quagga", "opennhrp", "vyos", "ios")
ALL_SAMPLES = sorted(
    path
    for system in SYSTEMS
    for path in (SAMPLES / system).iterdir()
    if path.name != "opennhrp-script"
)


@dataclass(frozen=True, slots=True)
class Result:
    """The files by their names, and the report."""

    files: dict[str, str]
    secret: frozenset[str]
    """Names of the files that nobody else may read."""
    report: str

    def config(self, name: str = "nhrpd.toml") -> Config:
        """Reads the file back with the daemon's own loader."""
        return parse(self.files[name], name)

    def interface(self, name: str) -> InterfaceConfig:
        return self.config().interfaces[name]

    def reason(self, line: int) -> str:
        """Returns why a line was not carried over."""
        lines = self.report.splitlines()
        at = next(
            number for number, text in enumerate(lines) if text.startswith(f"  line {line}: ")
        )
        return lines[at + 1].strip()

    def waits(self, line: int, key: str) -> bool:
        """Whether a line is left out for want of a setting; or is not, because the setting is there."""
        if key in LATER:
            return LATER[key] in self.reason(line)
        return f"  line {line}: " not in self.report

    def remarks(self) -> str:
        """Returns all that is meant for people: comments, and the report."""
        comments = [
            line.partition("#")[2] if "#" in line else line if line.startswith("!") else ""
            for text in self.files.values()
            for line in text.splitlines()
        ]
        return "\n".join([*comments, self.report])


def imported(
    *paths: Path | str, told: str | None = None, tunnel: str | None = None, stdin: bytes = b""
) -> Result:
    done = hand_over([str(path) for path in paths], told, tunnel, io.BytesIO(stdin))
    return Result(
        {output.name: output.text for output in done.outputs},
        frozenset(output.name for output in done.outputs if output.secret),
        "\n".join(done.report),
    )


def sample(name: str) -> Result:
    """Imports a file of `samples/`."""
    return imported(SAMPLES / name)


def of_text(text: str, told: str | None = None) -> Result:
    """Imports a text, from standard input."""
    return imported("-", stdin=text.encode(), told=told)


def refusal(text: str | bytes, told: str | None = None) -> str:
    """Returns why a text cannot be imported."""
    octets = text.encode() if isinstance(text, str) else text
    try:
        hand_over(["-"], told, None, io.BytesIO(octets))
    except InputError as error:
        return str(error)
    raise AssertionError("it was imported")


def servers(interface: InterfaceConfig) -> Sequence[tuple[str, str]]:
    from nhrpd_py.core.address import format_address  # noqa: PLC0415

    return [
        ("dynamic" if each.protocol is None else format_address(each.protocol), str(each.nbma))
        for each in interface.nhs
    ]
