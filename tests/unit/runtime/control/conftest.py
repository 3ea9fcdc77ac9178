"""Where the control socket of a test is."""

import pytest


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "run" / "nhrpd.sock")
