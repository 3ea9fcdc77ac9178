"""Configurations with something wrong in them: they are imported, or refused with a sentence; never more."""

import random

import pytest

from nhrpd_py.cli.importing.source import InputError
from tests.unit.cli.importing.imports import ALL_SAMPLES, SAMPLES, SYSTEMS, imported

TEXTS = [path.read_text() for path in (*ALL_SAMPLES, SAMPLES / "guide.txt")]
ODD = ["{", "}", '"', "'", "\\", "-1", "99999999999", "255.255.255.255", "::1", "/", "é", "\x07"]
WORDS = [*(word for text in TEXTS for word in text.split()), *ODD]
ROUNDS = 150


def mutated(rng: random.Random) -> str:
    lines = rng.choice(TEXTS).split("\n")
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                words = lines[at].split(" ")
                words[rng.randrange(len(words))] = rng.choice(WORDS)
                lines[at] = " ".join(words)
            case 1:
                lines[at] = lines[at][: rng.randint(0, len(lines[at]))]
            case 2:
                lines.insert(at, rng.choice(rng.choice(TEXTS).split("\n")))
            case 3:
                lines[at] = lines[at].strip()
            case 4:
                del lines[at + 1 :]
            case _:
                lines[at] = " ".join(reversed(lines[at].split()))
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_made_of_anything_is_right_or_nothing(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        text = mutated(rng)
        try:
            result = imported("-", stdin=text.encode(), told=rng.choice((None, *SYSTEMS)))
        except InputError as error:
            if "what was made is not right" in str(error):
                pytest.fail(f"{error}\n{text}")
            continue
        for name in result.files:
            if name.endswith(".toml"):
                result.config(name)
