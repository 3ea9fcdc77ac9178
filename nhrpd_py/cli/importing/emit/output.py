"""A file that import makes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """One file: its name, where it belongs on the machine, and its text."""

    name: str
    place: str
    text: str
    secret: bool = False
    """It has pass phrases in it: nobody but its owner may read it."""
