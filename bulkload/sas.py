"""Shared access signatures: signing a token, keeping it fresh, and verifying one.

The token's form is that of `Service Bus SAS
<https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas>`_:
``SharedAccessSignature sr=…&sig=…&se=…&skn=…`` where ``sig`` is
``base64(HMAC-SHA256(key, sr + "\\n" + se))`` over the very text sent in ``sr``.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote

SCHEME = "SharedAccessSignature"

# One hour is what the service's own SDKs ask for; a leaked token dies soon and a run signs 32 times a day.
LIFETIME = 3600.0

# Renewed after three quarters, so that a request waiting for its turn never leaves with a stale token.
RENEW_AFTER = 0.75

# A wall clock that differs by less than this from the hub's is right; more, and the hub's is believed.
CLOCK_TOLERANCE = 60.0


def sign(audience: str, key_name: str, key: str, expires: int) -> str:
    """Return the Authorization value for `audience` (a URL) until `expires` (Unix seconds)."""
    resource = quote(audience.lower(), safe="")
    signature = quote(_signature(key, resource, str(expires)), safe="")
    return f"{SCHEME} sr={resource}&sig={signature}&se={expires}&skn={quote(key_name, safe='')}"


def _signature(key: str, resource: str, expires: str) -> str:
    digest = hmac.digest(key.encode(), f"{resource}\n{expires}".encode(errors="surrogateescape"), hashlib.sha256)
    return base64.b64encode(digest).decode()


class Signer:
    """One token for a whole hub, signed once and renewed before it expires."""

    def __init__(self, audience: str, key_name: str, key: str, *, clock: Callable[[], float] = time.time) -> None:
        self._audience = audience
        self._key_name = key_name
        self._key = key
        self._clock = clock
        self._clock_error = 0.0
        self._sign()

    def __repr__(self) -> str:
        return f"<Signer {self._key_name} for {self._audience}, until {self.expires}>"

    def _sign(self) -> None:
        now = self._clock()
        self._signed_at = now
        self._renew_at = now + LIFETIME * RENEW_AFTER
        self.expires = int(now - self._clock_error + LIFETIME)
        self._token = sign(self._audience, self._key_name, self._key, self.expires)

    @property
    def token(self) -> str:
        """The current token, signed anew when its time has come or the wall clock was set back."""
        if not self._signed_at - CLOCK_TOLERANCE <= self._clock() < self._renew_at:
            self._sign()
        return self._token

    @property
    def clock_error(self) -> float:
        """Seconds by which this machine's clock was last seen ahead of the hub's (0.0 when it agrees)."""
        return self._clock_error

    def renew(self, refused: str, *, hub_time: float | None = None) -> None:
        """Sign anew after the hub refused the token `refused`, by the hub's clock (Unix seconds) where it told it.

        A token that replaced the refused one meanwhile is kept, so that a crowd of refusals signs once.
        """
        if refused != self._token:
            return
        if hub_time is not None:
            error = self._clock() - hub_time
            self._clock_error = error if abs(error) > CLOCK_TOLERANCE else 0.0
        self._sign()


def verify(authorization: str | None, resource: str, keys: Mapping[str, str], *, now: float) -> str | None:
    """Check an Authorization value for `resource` (host and path, no scheme) as the service does.

    Returns what is wrong with it in the service's words, or None when it is good. The signature is checked over the
    ``sr`` text as received, any prefix of the resource is accepted as audience whatever its scheme, and the fields
    may come in any order.
    """
    if not authorization:
        return "MissingToken: The Authorization header was not found."
    scheme, _, text = authorization.partition(" ")
    fields = dict(field.partition("=")[::2] for field in text.strip().split("&"))
    if scheme != SCHEME or not {"sr", "sig", "se", "skn"} <= fields.keys():
        return "MalformedToken: The token is malformed."
    key = keys.get(unquote(fields["skn"]))
    if key is None or not hmac.compare_digest(
        _signature(key, fields["sr"], fields["se"]).encode(), unquote(fields["sig"]).encode(errors="surrogateescape")
    ):
        return "InvalidSignature: The token has an invalid signature."
    if not re.fullmatch(r"[0-9]{1,20}", fields["se"]):
        return "MalformedToken: The token is malformed."
    if int(fields["se"]) <= now:
        return "ExpiredToken: The token is expired."
    if not _covers(unquote(fields["sr"]), resource):
        return "40104: Invalid authorization token audience."
    return None


def _covers(audience: str, resource: str) -> bool:
    """Whether `audience` is the resource or one of its parents, compared by whole path segments."""
    wanted = resource.lower().rstrip("/").split("/")
    given = audience.lower().rpartition("://")[2].rstrip("/").split("/")
    return wanted[: len(given)] == given
