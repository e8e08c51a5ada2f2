"""The seam at which a transport plugs in: what goes to a hub, and who is told what came back."""

from typing import Protocol, TypeVar

from bulkload.record import Carried
from bulkload.wire.answer import Answer

C = TypeVar("C", bound=Carried)
C_contra = TypeVar("C_contra", bound=Carried, contravariant=True)


class Sender(Protocol[C_contra]):
    """Who sends, and is told what became of it."""

    def answered(self, carried: C_contra, answer: Answer) -> None:
        """What a request came to. Never raises."""

    def broke(self, failure: Exception) -> None:
        """A bug ended a request."""


class Transport(Protocol[C]):
    """Carries requests to the hub; tells its sender of all that the network or the hub does, and never raises for it.

    No future and no task for a request is wanted: a call when it leaves, and another when it is answered.
    """

    @property
    def name(self) -> str:
        """What a run says of it."""

    def send(self, carried: C, token: str, sender: Sender[C]) -> None:
        """Send what is to be carried, with `token` as Authorization; `sender` is told once, after this has returned.

        What `is_stale` goes over a connection that was not used before, where the transport knows.
        """

    def abandon(self) -> None:
        """Give up everything that is on its way: nobody is told of it any more."""

    async def close(self) -> None:
        """Close every connection."""
