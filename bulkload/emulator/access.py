"""Who may use the hub: the emulator's two policies, and the tokens they signed."""

import time
from collections.abc import Callable

from bulkload import sas
from bulkload.emulator.answers import Answer

POLICY = "RootManageSharedAccessKey"
LISTEN_POLICY = "DefaultListenSharedAccessSignature"

# Fixed, so that a connection string outlives a restart; public, since they open nothing but an emulator.
KEY = "b3BlbnMgYW4gZW11bGF0b3IsIG5vdGhpbmcgZWxzZS4="
LISTEN_KEY = "bGlzdGVucyB0byBhbiBlbXVsYXRvciwgbm8gbW9yZS4="


class Access:
    """Verifies tokens, one that is good for a whole hub once a second at most.

    Tokens expire at a whole second, so what is good now is good until this second ends. All are forgotten then, which
    refuses an expired one on time and keeps no more than a second's worth. Refused ones are not remembered.
    """

    def __init__(self, key: str, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = {POLICY: key, LISTEN_POLICY: LISTEN_KEY}
        self._writing_keys = {POLICY: key}
        self._clock = clock
        self._second = 0
        self._good: set[tuple[str | None, str]] = set()

    def refusal(self, authorization: str | None, hub: str, path: str) -> Answer | None:
        """Why a request may not touch `path` below `hub` (host and hub's name), or None when it may."""
        now = self._clock()
        if int(now) != self._second:
            self._second = int(now)
            self._good.clear()
        if (authorization, hub) in self._good:
            return None
        refusal = self._verified(authorization, f"{hub}/{path}", now)
        if refusal is None and not self._verified(authorization, hub, now):
            self._good.add((authorization, hub))
        return refusal

    def _verified(self, authorization: str | None, resource: str, now: float) -> Answer | None:
        wrong = sas.verify(authorization, resource, self._keys, now=now)
        if wrong is not None:
            return Answer(401, detail=wrong)
        if sas.verify(authorization, resource, self._writing_keys, now=now) is not None:
            # Recorded in 2022: a policy without the right is refused without a word.
            return Answer(403)
        return None
