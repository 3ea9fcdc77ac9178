"""What the tests of the configuration have in common."""

import pytest

from nhrpd_py.config.load import parse
from nhrpd_py.core.config import ConfigError

GRE = "[interface.gre1]\nnetwork-id = 1\n"
"""The smallest file that is good."""


def complaints(text: str) -> list[str]:
    """What is wrong with a file of this text, which is called `f`."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    return caught.value.problems
