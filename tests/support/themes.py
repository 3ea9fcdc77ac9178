"""Golden dialogues: what stations say, one theme a text file, to be read by people.

Each function plays one theme; its record must be the text file of its name, beside the file of tests. After a change
that is meant, `pytest --rewrite-transcripts` writes them anew, and the diff is what a reviewer reads.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nhrpd_py.core.address import Address
from nhrpd_py.packet import ClientInformation, Message, PacketType
from tests.support.clouds import add_hub, add_spoke
from tests.support.messages import (
    a_registration_request,
    a_resolution_request,
    nat_extension,
    std_extensions,
)
from tests.support.sites import (
    SPOKE_1,
    SPOKE_2,
    Site,
)
from tests.support.transcript import Dialogue

RENEWALS = {PacketType.REGISTRATION_REQUEST, PacketType.REGISTRATION_REPLY}

EMPTY_RECORDS = std_extensions(nat_extension())

OWN_ENTRY = ClientInformation(prefix_length=32, holding_time_s=600)

Theme = Callable[[Dialogue], None]


class Themes:
    """The themes of one folder of transcripts; an instance is the decorator that adds a theme."""

    def __init__(self, file: str) -> None:
        self.folder = Path(file).parent
        self.plays: list[Theme] = []

    def __call__(self, play: Theme) -> Theme:
        self.plays.append(play)
        return play

    def check(self, name: str, config: pytest.Config) -> None:
        """Plays a theme, and compares its record with the text of its name, or writes that anew."""
        dialogue = Dialogue()
        next(play for play in self.plays if play.__name__ == name)(dialogue)
        path = self.folder / f"{name}.txt"
        if config.getoption("--rewrite-transcripts"):
            path.write_text(dialogue.text)
        assert path.read_text() == dialogue.text

    @property
    def names(self) -> list[str]:
        """The names of the themes, which are those of the texts."""
        return [play.__name__ for play in self.plays]

    def left_over(self) -> set[str]:
        """Texts that no theme has any more."""
        return {path.stem for path in self.folder.glob("*.txt")} - set(self.names)


def a_hub(dialogue: Dialogue, **settings: Any) -> None:
    """A hub with two spokes."""
    add_hub(dialogue, SPOKE_1, SPOKE_2, **settings)


def a_cloud(dialogue: Dialogue) -> None:
    """A hub and two spokes, registered; how that went is not of the theme."""
    a_hub(dialogue)
    add_spoke(dialogue, "spoke-1", SPOKE_1)
    add_spoke(dialogue, "spoke-2", SPOKE_2)
    dialogue.run(1.0)
    dialogue.lines.clear()


def talk(dialogue: Dialogue, one: str = "spoke-1", other: str = "spoke-2") -> list[str]:
    """A data packet, whose path is of the record."""
    begin = len(dialogue.lines)
    path = dialogue.talk(one, other)
    dialogue.lines.insert(begin, f"{dialogue.now:9.3f} data     {' > '.join(path)}")
    return path


def a_registration(client: Site = SPOKE_1, **fields: Any) -> Message:
    """A Registration Request as our own stations send it."""
    own = {"hop_count": 255, "entries": (OWN_ENTRY,), "extensions": EMPTY_RECORDS}
    return a_registration_request(client, **{**own, **fields})


def a_request(request_id: int, target: Address = SPOKE_2.host, **fields: Any) -> Message:
    """A Resolution Request as our own stations send it."""
    own = {"hop_count": 255, "entries": (OWN_ENTRY,)}
    return a_resolution_request(SPOKE_1, target, request_id=request_id, **{**own, **fields})
