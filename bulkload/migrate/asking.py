"""A job that asks a hub, until it is done or told to stop."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from bulkload.client import Client, Requesting
from bulkload.errors import Halt, Stop
from bulkload.hub import Hub
from bulkload.report.text import count

log = logging.getLogger("bulkload")

R = TypeVar("R")

# So many failures are told one by one.
MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """Where such a job is: `consumed` of `size`, in whatever it counts."""

    text: str
    consumed: int
    size: int | None
    elapsed: float

    def __str__(self) -> str:
        return self.text

    @property
    def at_length(self) -> str:
        return self.text


class Stoppable(ABC, Generic[R]):
    """A job that `run` carries out; `stop` ends it early, and so does a hub or a machine that fails it.

    `_stopped` says then what has come of it.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._task: asyncio.Task[object] | None = None
        self._stop: Stop | None = None
        self.failures = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self.failures} failures>"

    async def run(self) -> R:
        """Carry it out to its end."""
        if self._stop is not None:
            return self._stopped(self._stop)
        self._task = asyncio.current_task()
        try:
            return await self._work()
        except Halt as exc:
            return self._stopped(Stop(exc.exit_code, str(exc)))
        except asyncio.CancelledError:
            assert self._task is not None
            if self._stop is None or self._task.uncancel():
                # Somebody else wants it gone.
                raise
            return self._stopped(self._stop)
        finally:
            self._task = None

    def stop(self, exit_code: int, reason: str) -> None:
        """End it where it is; what it does to leave things in order is not ended once more."""
        if self._stop is not None:
            return
        self._stop = Stop(exit_code, reason)
        if self._task is not None:
            self._task.cancel()

    @property
    @abstractmethod
    def progress(self) -> Asked:
        """Where it is."""

    @abstractmethod
    async def _work(self) -> R:
        """Do what is to be done."""

    @abstractmethod
    def _stopped(self, stop: Stop) -> R:
        """What has come of it when it ended early."""

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def failed(self, reason: str) -> None:
        """Count a failure that ends nothing else, and tell it, unless there are too many."""
        self.failures += 1
        if self.failures <= MOST_TOLD:
            log.warning("%s%s", reason, "; others are counted only" if self.failures == MOST_TOLD else "")


class Asking(Stoppable[R]):
    """One that asks a hub all along, by `_ask`."""

    def __init__(self, hub: Hub, requesting: Requesting) -> None:
        super().__init__()
        self._requesting = requesting
        self._client = Client(hub, requesting)

    async def _work(self) -> R:
        async with self._client as client:
            return await self._ask(client)

    @abstractmethod
    async def _ask(self, client: Client) -> R:
        """Do what is to be done."""


def requests_of(client: Client) -> str:
    """What a client's requests came to, in words."""
    requests = client.requests
    parts = [count(requests.sent, "request")]
    parts += [f"{number:,} {name}" for name in ("throttled", "failed") if (number := getattr(requests, name))]
    return ", ".join(parts)
