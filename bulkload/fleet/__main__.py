"""``python -m bulkload.fleet DESCRIPTOR``: an uploader of the process that holds the other end of that socket."""

import contextlib
import logging
import os
import select
import socket
import sys
import threading

from bulkload import process
from bulkload.fleet.uploader import Uploader


def main() -> None:
    """Work until the coordinator says that it is over, or is gone."""
    stream = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with, args=[os.dup(stream.fileno())], name="watch", daemon=True).start()
    # What a user's function prints is not part of what the command writes.
    with contextlib.redirect_stdout(sys.stderr):
        process.run(_work(stream))


async def _work(stream: socket.socket) -> None:
    uploader = Uploader()
    logger = logging.getLogger("bulkload")
    logger.setLevel(logging.INFO)
    logger.addHandler(_Telling(uploader))
    logger.propagate = False
    await uploader.run(stream)


class _Telling(logging.Handler):
    """Tells lines of the log to the coordinator."""

    def __init__(self, uploader: Uploader) -> None:
        super().__init__()
        self._uploader = uploader

    def emit(self, record: logging.LogRecord) -> None:
        self._uploader.say(record.levelno, str(record.msg), record.getMessage())


def _end_with(descriptor: int) -> None:
    """End this process at once where the coordinator's has ended, whatever the loop is at: a user's function, say."""
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(1)


if __name__ == "__main__":
    main()
