"""Reads, installs and removes the XFRM policies of the clear-text guard in the kernel."""

import errno
from collections.abc import Callable, Iterable

from nhrpd_py.runtime.guard.gre_block import Slot, is_guard, slot_of
from nhrpd_py.runtime.netlink.socket import NetlinkError
from nhrpd_py.runtime.netlink.xfrm import (
    XFRM_MSG_DELPOLICY,
    XFRM_MSG_NEWPOLICY,
    XFRM_MSG_UPDPOLICY,
    Direction,
    Policy,
    drop_policy,
    set_policy,
)
from nhrpd_py.runtime.netlink.xfrm_socket import Xfrm


class GuardError(Exception):
    """A tunnel is not protected and must stay closed. The text is a sentence for people."""


class GuardPolicies:
    """Reads, adds, replaces and removes the guard's policies in the kernel. No method waits; all
    raise GuardError."""

    def __init__(self, open_requests: Callable[[], Xfrm]) -> None:
        self._open = open_requests
        self._xfrm: Xfrm | None = None

    def close(self) -> None:
        """Closes the socket; the policies stay."""
        if self._xfrm is not None:
            self._xfrm.close()
            self._xfrm = None

    def present(self) -> list[Policy]:
        """Returns the policies of the guard, of this run and of others."""
        return [policy for policy in self.read() if is_guard(policy)]

    def standing(self) -> dict[Slot, Policy]:
        """Returns the kernel's policies by slot, for the slots of the guard's policies."""
        return by_slot(self.read())

    def install(self, policy: Policy) -> None:
        """Adds a policy unless the kernel has it. Raises GuardError also when another policy is in
        its slot."""
        if self.add(policy):
            return
        found = self.standing().get(slot_of(policy))
        if found is None and self.add(policy):  # another policy was there until just now
            return
        if found is None:
            raise GuardError(f"the kernel says it has, and does not show: {policy}")
        if found != policy:
            raise GuardError(
                f"the place of the clear-text guard is taken by: {found}; remove it: "
                f"ip xfrm policy delete {policy.selector} dir {Direction(policy.direction).label}"
            )

    def add(self, policy: Policy) -> bool:
        """Adds a policy; returns False when its slot is taken."""
        try:
            self._link.ask(XFRM_MSG_NEWPOLICY, set_policy(policy), f"add {policy}")
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise refusal(error) from error
            return False
        return True

    def replace(self, policy: Policy) -> None:
        """Adds a policy, in place of any other in its slot."""
        try:
            self._link.ask(XFRM_MSG_UPDPOLICY, set_policy(policy), f"restore {policy}")
        except NetlinkError as error:
            raise refusal(error) from error

    def remove(self, policy: Policy) -> bool:
        """Removes a policy; returns False when there was none."""
        try:
            self._link.ask(XFRM_MSG_DELPOLICY, drop_policy(policy), f"delete {policy}")
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise refusal(error) from error
            return False
        return True

    @property
    def _link(self) -> Xfrm:
        if self._xfrm is None:
            try:
                self._xfrm = self._open()
            except OSError as error:
                raise refusal(error) from error
        return self._xfrm

    def read(self) -> list[Policy]:
        """Returns all policies of the kernel."""
        try:
            return self._link.policies()
        except NetlinkError as error:
            raise refusal(error) from error


def by_slot(policies: Iterable[Policy]) -> dict[Slot, Policy]:
    """Returns the policies that are in slots like those of the guard's, by slot."""
    return {
        slot_of(policy): policy for policy in policies if policy.mark == (0, 0) and not policy.if_id
    }


def refusal(error: OSError) -> GuardError:
    """Translates an error of the kernel into one of the guard."""
    reasons = {
        errno.EPERM: "CAP_NET_ADMIN is missing",
        errno.EPROTONOSUPPORT: "the kernel has no xfrm_user",
        errno.ENOPROTOOPT: "the kernel has no XFRM policies",
        errno.EAFNOSUPPORT: "the kernel has no XFRM policies of this family",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return GuardError(f"no clear-text guard: {reason}")
