"""A broken run, made short: which of its steps are needed for the fault, and what they say."""

import time
import traceback
from collections.abc import Sequence

from nhrpd_py.core.events import PacketReceived
from nhrpd_py.packet.message import decode
from nhrpd_py.packet.wire import BadPacket
from tests.fuzz.campaign import Machine, Run, Step

LIMIT_S = 60.0


def fault_of(run: Run, steps: Sequence[Step]) -> Exception | None:
    """Returns what steps of a run, and the end of the machine after them, raise; None where that is nothing."""
    with run.tables():
        machine = Machine(run.role, run.seed)
        now = 0.0
        try:
            for now, event in steps:
                machine.take(event, now)
            machine.end(now)
        except Exception as fault:  # noqa: BLE001 - the very thing looked for
            return fault
    return None


def kind_of(fault: BaseException) -> tuple[str, ...]:
    """Returns what makes two faults the same: the type, and where it was raised."""
    where = traceback.extract_tb(fault.__traceback__)[-1]
    return type(fault).__name__, where.filename, str(where.lineno)


def shrunk(run: Run, fault: BaseException, limit_s: float = LIMIT_S) -> list[Step]:
    """Returns as few of a run's steps as can be found in time that raise the same fault."""
    steps, wanted = run.steps, kind_of(fault)
    ends_at = time.monotonic() + limit_s
    chunk = len(steps) // 2
    while chunk and time.monotonic() < ends_at:
        start = 0
        while start < len(steps) and time.monotonic() < ends_at:
            fewer = steps[:start] + steps[start + chunk :]
            found = fault_of(run, fewer)
            if found is not None and kind_of(found) == wanted:
                steps = fewer
            else:
                start += chunk
        chunk //= 2
    return steps


def describe(step: Step) -> str:
    """Returns a step as text: an event as Python has it, a packet decoded as well."""
    at, event = step
    text = f"{at:12.3f}  {event!r}"
    if isinstance(event, PacketReceived):
        try:
            text += f"\n{'':14}{decode(event.data)}"
        except BadPacket as bad:
            text += f"\n{'':14}{bad.reason}"
    return text
