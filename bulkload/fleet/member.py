"""One uploader as its coordinator sees it: its process, the channel to it, and what it has in hand."""

import asyncio
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

from bulkload.errors import Halt
from bulkload.fleet.messages import Channel, FromUploader, Message
from bulkload.process import import_path
from bulkload.source.reading import in_thread

# What ends a run is told to the coordinator, which has work to do before its uploaders end.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Member:
    """A running uploader. `hear` is called with all that it says, `lose` when it is gone.

    `leased` counts the requests that were ever leased to it, `asked` those that it could have used, and `limit` is how
    many it was told that it may have in flight; `out` are those leased of which nothing was heard yet, `lapsed` those
    that were taken back because it has fallen silent. `in_hand` are the records of its parcels that are not settled.
    """

    def __init__(self, hear: "Callable[[Member, FromUploader], None]", lose: "Callable[[Member], None]") -> None:
        self.channel = Channel(FromUploader, lambda message: hear(self, message), lambda: lose(self))
        self.parcels: set[int] = set()
        self.in_hand = 0
        self.asked = 0
        self.leased = 0
        self.limit = 0
        self.out = 0
        self.lapsed = 0
        self.heard_at = math.inf
        """When it reported last."""
        self.in_flight = 0
        self.processor = 0.0
        self.constraint: str | None = None
        self.is_recalled = False
        self.has_ended = False
        self.has_settled = False
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Member {self.pid}, {self.in_hand} in hand, {self.in_flight} in flight>"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def wants(self) -> int:
        """How many more requests it could let leave."""
        return 0 if self.lapsed else self.asked - self.leased

    def say(self, message: Message) -> None:
        self.channel.send(message)

    async def start(self) -> None:
        """Start the process, which ends with this one at the latest; raises `Halt` where it cannot be started."""
        try:
            ours, theirs = socket.socketpair()
            ours.settimeout(0)
            with theirs:
                self._process = _spawned(theirs.fileno())
        except OSError as exc:
            raise Halt(f"no further process can be started: {exc.strerror}; take fewer --processes") from exc
        await asyncio.get_running_loop().create_unix_connection(lambda: self.channel, sock=ours)

    async def end(self) -> int:
        """Let go of it, kill it if it is still there, and return its exit status."""
        self.channel.close()
        process = self._process
        if process is None:
            return 0
        process.kill()
        return await in_thread(process.wait)


def _spawned(descriptor: int) -> subprocess.Popen[bytes]:
    # -P, or a file of the current folder could stand in for a module of Python's own.
    command = (sys.executable, "-P", "-m", "bulkload.fleet", str(descriptor))
    # What is blocked here stays so in the child: a service manager sends its signals to all processes of a job.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter, and nothing of anybody else's
            command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], env=os.environ | {"PYTHONPATH": import_path()}
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
