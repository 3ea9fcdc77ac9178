"""The other end of a netlink socket, played by a script over a socketpair."""

import socket
from collections import defaultdict

import trio

from nhrpd_py.runtime.netlink.socket import (
    ERROR_CODE,
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
    NetlinkSocket,
    message,
    messages,
)


class FaultySocket(NetlinkSocket):
    """Raises the errors in `faults` before it reads on, and those in `send_faults` before it sends."""

    def __init__(self, sock):
        super().__init__(sock)
        self.faults = []
        self.send_faults = []

    async def send(self, data):
        if self.send_faults:
            raise self.send_faults.pop(0)
        await super().send(data)

    def read(self):
        if self.faults:
            raise self.faults.pop(0)
        return super().read()


def a_pair():
    """A netlink socket, and the peer's plain socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    return FaultySocket(ours), theirs


def an_error(code, request, sequence=0, flags=0, words=b""):
    return message(NLMSG_ERROR, flags, ERROR_CODE.pack(-code) + request + words, sequence)


def a_done(sequence, flags=0, code=0):
    return message(NLMSG_DONE, NLM_F_MULTI | flags, ERROR_CODE.pack(-code), sequence)


class ScriptedKernel:
    """Answers dumps from `tables` (by request type), acknowledges, and keeps all changes.

    `refuse` gives the errno for a message type, `scripts` replaces the answer to a request type: a
    function of the sequence that returns datagrams.
    """

    def __init__(self, sock):
        self._socket = sock
        self.tables = defaultdict(list)
        self.refuse = {}
        self.scripts = {}
        self.changes = []
        self.requests = []

    async def run(self):
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            data = self._socket.recv(1 << 20)
            if not data:
                return
            for kind, flags, sequence, _port, payload in messages(memoryview(data)):
                self.requests.append(kind)
                self._answer(kind, flags, sequence, bytes(payload))

    def _answer(self, kind, flags, sequence, payload):
        request = message(kind, flags, payload, sequence)
        if kind in self.scripts:
            for datagram in self.scripts[kind](sequence):
                self._socket.send(datagram)
        elif flags & NLM_F_DUMP == NLM_F_DUMP and kind % 4 == 2:
            rows = [message(kind - 2, NLM_F_MULTI, row, sequence) for row in self.tables[kind]]
            self._socket.send(b"".join(rows) + a_done(sequence))
        elif kind in self.refuse:
            self._socket.send(an_error(self.refuse[kind], request, sequence))
        else:
            if sequence == 0:
                self.changes.append((kind, payload))
            if flags & NLM_F_ACK:
                self._socket.send(an_error(0, request[: HEADER.size], sequence))
