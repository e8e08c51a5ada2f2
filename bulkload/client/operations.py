"""A hub with its operations at hand, one at a time; `Client` is for many."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from bulkload import hub
from bulkload.client.client import TOP, Client
from bulkload.client.settings import Requesting
from bulkload.installation import Fields
from bulkload.registration import Handle, Registration


@dataclass(frozen=True, slots=True)
class Hub(hub.Hub):
    """A notification hub's address, the policy that may use it, and what can be asked of it.

    `host` is host and port as in a URL, `scheme` is ``https`` or, for a loopback host only, ``http``. Each operation
    opens connections of its own; ``async with hub.client() as client`` keeps them for many operations.
    """

    def client(self, **settings: Any) -> Client:
        """The same operations over connections that are kept; the keywords are those of `Requesting`."""
        return Client(self, Requesting(**settings))

    async def create_registration_id(self) -> str:
        """A new id for a registration, which is not created by that."""
        async with self.client() as client:
            return await client.create_registration_id()

    async def registrations(self, handle: Handle, *, top: int = TOP) -> AsyncGenerator[Registration, None]:
        """All registrations of a device."""
        async with self.client() as client:
            async for registration in client.registrations(handle, top=top):
                yield registration

    async def installation(self, id: str) -> Fields | None:  # noqa: A002
        """One installation; None where there is none of this id."""
        async with self.client() as client:
            return await client.installation(id)
