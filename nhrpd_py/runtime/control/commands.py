"""Passes operators' commands to the engine, and the engine's answers back."""

from dataclasses import dataclass, field

import trio

from nhrpd_py.core.config import Config
from nhrpd_py.core.effects import AnswerCommand
from nhrpd_py.core.events import CommandGiven, ConfigChanged
from nhrpd_py.core.queries import Command
from nhrpd_py.runtime.inbox import Inbox

COMMAND_DEADLINE_S = 10.0


@dataclass(slots=True, eq=False)
class _Waiting:
    """Keeps the answer of the engine for the request that waits for it."""

    done: trio.Event = field(default_factory=trio.Event)
    answer: AnswerCommand | None = None


class CommandRelay:
    """Passes operators' commands to the engine, and the answers back to the waiting requests."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._last_token = 0
        self._waiting: dict[int, _Waiting] = {}

    async def give(self, command: Command) -> AnswerCommand | None:
        """Gives the engine a command and returns its answer; None when it did not come within
        COMMAND_DEADLINE_S."""
        self._last_token += 1
        token = self._last_token
        waiting = self._waiting[token] = _Waiting()
        try:
            with trio.move_on_after(COMMAND_DEADLINE_S):
                await self._inbox.put([CommandGiven(token, command)])
                await waiting.done.wait()
        finally:
            del self._waiting[token]
        return waiting.answer

    async def configure(self, config: Config) -> None:
        """Gives the engine another configuration; returns when it is in force."""
        self._last_token += 1
        token = self._last_token
        waiting = self._waiting[token] = _Waiting()
        try:
            await self._inbox.put([ConfigChanged(config, token)])
            await waiting.done.wait()
        finally:
            del self._waiting[token]

    def answer(self, answer: AnswerCommand) -> None:
        """Passes an answer to its request, if that still waits. Called by the executor."""
        waiting = self._waiting.get(answer.token)
        if waiting is not None:
            waiting.answer = answer
            waiting.done.set()
