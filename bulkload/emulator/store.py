"""What a hub holds, and what of it can be seen by now: an acceptance means that it is queued."""

from collections import deque
from collections.abc import Callable


class Store:
    """Installations by their id. `accepted` has all of them; `get` shows each `delay` seconds after it came."""

    def __init__(self, *, delay: float, clock: Callable[[], float]) -> None:
        self.accepted: dict[str, bytes] = {}
        self._delay = delay
        self._clock = clock
        self._visible: dict[str, bytes] = {} if delay else self.accepted
        self._queue: deque[tuple[float, str, bytes | None]] = deque()

    def __repr__(self) -> str:
        return f"<Store {len(self.accepted)} installations, {len(self._queue)} not visible yet>"

    def put(self, id_: str, body: bytes) -> None:
        self.accepted[id_] = body
        self._enqueue(id_, body)

    def delete(self, id_: str) -> None:
        self.accepted.pop(id_, None)
        self._enqueue(id_, None)

    def get(self, id_: str) -> bytes | None:
        """What can be seen under an id, None for nothing."""
        self._ripen(self._clock())
        return self._visible.get(id_)

    def _enqueue(self, id_: str, body: bytes | None) -> None:
        if self._delay:
            now = self._clock()
            self._ripen(now)
            self._queue.append((now + self._delay, id_, body))

    def _ripen(self, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            _, id_, body = self._queue.popleft()
            if body is None:
                self._visible.pop(id_, None)
            else:
                self._visible[id_] = body
