"""Messages that a 6.1 kernel and `ip xfrm` exchanged, and a kernel that keeps policies by them."""

from collections import deque

from nhrpd_py.runtime.netlink import xfrm
from nhrpd_py.runtime.netlink.socket import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_MULTI,
    NLMSG_DONE,
    message,
    messages,
)
from tests.unit.runtime.netlink_peer import FaultySocket, a_pair, an_error

UNLIMITED = b"\xff" * 32 + bytes(32)
MAIN = bytes.fromhex("0a00 1000 000000000000 0000")
"""XFRMA_POLICY_TYPE with its padding."""

# ip xfrm policy add dir out proto gre key 42 action block priority 1000000
SELECT_42 = bytes(32) + bytes.fromhex("002a ffff 0000 ffff 0200 00 00 2f 000000 00000000 00000000")
ADD_OUT_42 = (
    SELECT_42 + UNLIMITED + bytes(32) + bytes.fromhex("40420f00 00000000 01 01 00 00 00000000")
)
TOLD_OUT_42 = (
    SELECT_42
    + UNLIMITED
    + bytes.fromhex("0000000000000000 0000000000000000 8d47066b00000000 0000000000000000")
    + bytes.fromhex("40420f00 01000000 01 01 00 00 00000000")
    + MAIN
)
# ip xfrm policy add src ::/0 dst ::/0 proto gre key 70000 dir in action block priority 1000000
SELECT_70000 = bytes(32) + bytes.fromhex(
    "1170 ffff 0001 ffff 0a00 00 00 2f 000000 00000000 00000000"
)
ADD_IN_70000 = (
    SELECT_70000 + UNLIMITED + bytes(32) + bytes.fromhex("40420f00 00000000 00 01 00 00 00000000")
)
# ip xfrm policy update dir out proto gre key 42 action allow priority 5
TOLD_ALLOW = (
    SELECT_42
    + UNLIMITED
    + bytes.fromhex("0000000000000000 0000000000000000 8f47066b00000000 0000000000000000")
    + bytes.fromhex("05000000 01000000 01 00 00 00 00000000")
    + MAIN
)
# ip xfrm policy delete dir out proto gre key 42: the request, and what the kernel told of it when
# it was the one above
DELETE_OUT_42 = SELECT_42 + bytes.fromhex("00000000 01 000000")
TOLD_DELETE = (
    SELECT_42 + bytes.fromhex("01000000 01 000000") + bytes.fromhex("ac00 0700") + TOLD_ALLOW
)
# … policy add src 192.0.2.1/32 dst 192.0.2.2/32 proto gre dir out priority 366975
#   tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode transport
TEMPLATE = (
    bytes.fromhex("c0000202 000000000000000000000000 00000000 32 000000 0200 0000")
    + bytes.fromhex("c0000201 000000000000000000000000 01000000 00 00 00 00")
    + b"\xff" * 12
)
TOLD_PEER = (
    bytes.fromhex("c0000202 000000000000000000000000 c0000201 000000000000000000000000")
    + bytes.fromhex("0000 0000 0000 0000 0200 20 20 2f 000000 00000000 00000000")
    + UNLIMITED
    + bytes.fromhex("0000000000000000 0000000000000000 8f47066b00000000 0000000000000000")
    + bytes.fromhex("7f990500 11000000 01 00 00 00 00000000")
    + bytes.fromhex("4400 0500")
    + TEMPLATE
    + MAIN
)
# ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1234 reqid 1 mode transport
#   enc cipher_null ""
TOLD_STATE = (
    bytes(40)
    + bytes.fromhex("0200 00 00 00 000000 00000000 00000000")
    + bytes.fromhex("c0000202 000000000000000000000000 00001234 32 000000")
    + bytes.fromhex("c0000201 000000000000000000000000")
    + UNLIMITED
    + bytes.fromhex("0000000000000000 0000000000000000 8f47066b00000000 0000000000000000")
    + bytes.fromhex("00000000 00000000 00000000 00000000 01000000 0200 00 00 00 00000000000000")
    + bytes.fromhex("4800 0200")
    + b"ecb(cipher_null)".ljust(64, b"\0")
    + bytes(4)
    + bytes.fromhex("1000 0a00 00000000 00000000 00000000")
)


class ScriptedXfrm(FaultySocket):
    """A kernel that answers within `send_now`, as the real one does, and tells `news` of changes.

    `refuse` gives the errno for a message type; `deeds` are the changes that it was asked for.
    """

    def __init__(self):
        ours, self.idle_peer = a_pair()
        super().__init__(ours._socket)
        self.table = {}
        self.states = []
        self.refuse = {}
        self.deeds = []
        self.answers: deque[bytes] = deque()
        self.listeners = []
        self.silent = False

    def send_now(self, data):
        for kind, flags, sequence, _port, payload in messages(memoryview(data)):
            if self.silent:
                continue
            answer = self._answer(kind, flags, bytes(payload))
            if isinstance(answer, int):
                head = message(kind, flags, b"", sequence)
                self.answers.append(an_error(answer, head[: HEADER.size], sequence))
            else:
                rows = (message(row_kind, NLM_F_MULTI, row, sequence) for row_kind, row in answer)
                self.answers.extend(rows)
                self.answers.append(message(NLMSG_DONE, NLM_F_MULTI, bytes(4), sequence))

    def read(self):
        if self.faults:
            raise self.faults.pop(0)
        return memoryview(self.answers.popleft()) if self.answers else None

    def _answer(self, kind, flags, payload):
        if kind in self.refuse:
            return self.refuse[kind]
        if flags & NLM_F_DUMP == NLM_F_DUMP:
            if kind == xfrm.XFRM_MSG_GETSA:
                return [(xfrm.XFRM_MSG_NEWSA, row) for row in self.states]
            return [(xfrm.XFRM_MSG_NEWPOLICY, row) for row in self.table.values()]
        direction = payload[60] if kind == xfrm.XFRM_MSG_DELPOLICY else payload[160]
        slot = (payload[:56], direction)
        if kind == xfrm.XFRM_MSG_NEWPOLICY and slot in self.table:
            return 17  # EEXIST
        if kind == xfrm.XFRM_MSG_DELPOLICY:
            if slot not in self.table:
                return 2  # ENOENT
            self.delete(slot)
        else:
            self.put(kind, payload)
        self.deeds.append((kind, slot[0][32:34] + slot[0][36:38], direction))
        return 0

    def put(self, kind, payload):
        """Adds or replaces a policy and tells it."""
        row = payload if payload.endswith(MAIN) else payload + MAIN
        self.table[(payload[:56], payload[160])] = row
        self.tell(message(kind, 0, row))

    def delete(self, slot):
        row = self.table.pop(slot)
        row = row.removesuffix(MAIN)
        whole = (len(row) + 4).to_bytes(2, "little") + bytes.fromhex("0700") + row
        head = slot[0] + bytes(4) + bytes((slot[1],)) + bytes(3)
        self.tell(message(xfrm.XFRM_MSG_DELPOLICY, 0, head + whole + MAIN))

    def flush(self):
        self.table.clear()
        self.tell(message(xfrm.XFRM_MSG_FLUSHPOLICY, 0, MAIN))

    def tell(self, datagram):
        for listener in self.listeners:
            listener.send(datagram)

    def listen(self):
        """A socket that hears the news."""
        ours, theirs = a_pair()
        self.listeners.append(theirs)
        return ours

    def close(self):
        for sock in (self._socket, self.idle_peer, *self.listeners):
            sock.close()

    def texts(self):
        return sorted(str(xfrm.read_policy(memoryview(row))) for row in self.table.values())
