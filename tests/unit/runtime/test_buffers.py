"""Socket buffers of the size that is asked for, or as large as the system allows."""

import socket

import pytest

from nhrpd_py.runtime.buffers import (
    SO_RCVBUFFORCE,
    SO_SNDBUFFORCE,
    set_receive_buffer,
    set_send_buffer,
)

SIZE = 1 << 22


class Recorder:
    """A socket that refuses some options."""

    def __init__(self, error: OSError | None) -> None:
        self.error = error
        self.options: list[tuple[int, int]] = []

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, value) == (socket.SOL_SOCKET, SIZE)
        self.options.append((level, option))
        if self.error is not None and option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
            raise self.error


@pytest.mark.parametrize(
    ("set_buffer", "forced", "limited"),
    [
        (set_receive_buffer, SO_RCVBUFFORCE, socket.SO_RCVBUF),
        (set_send_buffer, SO_SNDBUFFORCE, socket.SO_SNDBUF),
    ],
)
def test_the_limit_counts_only_where_we_may_not_pass_it(set_buffer, forced, limited) -> None:
    may, may_not = Recorder(None), Recorder(PermissionError())
    set_buffer(may, SIZE)
    set_buffer(may_not, SIZE)
    assert [option for _, option in may.options] == [forced]
    assert [option for _, option in may_not.options] == [forced, limited]
    with pytest.raises(OSError, match="no memory"):
        set_buffer(Recorder(OSError("no memory")), SIZE)
