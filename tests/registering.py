"""Registrations as a client writes them, and an emulated hub to send them to."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp

from bulkload.emulator import Emulator
from bulkload.registration import Registration, read
from tests.test_emulator import Client, Reply

ATOM = "http://www.w3.org/2005/Atom"
CONNECT = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"

TOKEN = "62BCD3484834B7E2DC56733AC5509259230CC1BA82BA1AE7D06E91908A05A8FA"
APPLE = f"<DeviceToken>{TOKEN}</DeviceToken>"

ID = r"\d{15,19}-\d{15,19}-[123]"


def body(inner: str = APPLE, *, kind: str = "Apple") -> bytes:
    """The body of a POST or PUT, with these elements in its description."""
    name = f"{kind}RegistrationDescription"
    description = f'<{name} xmlns:i="{INSTANCE}" xmlns="{CONNECT}">{inner}</{name}>'
    return _entry(description)


def typed(inner: str = APPLE, *, kind: str = "Apple") -> bytes:
    """The same in the other spelling."""
    attributes = f'xmlns:i="{INSTANCE}" i:type="{kind}RegistrationDescription" xmlns="{CONNECT}"'
    return _entry(f"<RegistrationDescription {attributes}>{inner}</RegistrationDescription>")


def _entry(description: str) -> bytes:
    return f'<entry xmlns="{ATOM}"><content type="application/xml">{description}</content></entry>'.encode()


@asynccontextmanager
async def hub(*, dialect: str = "2018", **options: Any) -> AsyncIterator["Registrar"]:
    """An emulated hub and a client of it."""
    async with Emulator(hub="devices", dialect=dialect, **options) as emulator, aiohttp.ClientSession() as session:
        yield Registrar(session, emulator, dialect)


class Registrar(Client):
    """A client that knows the calls about registrations."""

    def __init__(self, session: aiohttp.ClientSession, emulator: Emulator, dialect: str) -> None:
        super().__init__(session, emulator.hub)
        self.emulator = emulator
        self.dialect = dialect

    async def create(self, data: bytes | None = None) -> str:
        """Make a registration, and tell its id."""
        reply = await self.ask("POST", "/registrations", data=data or body())
        assert reply.status == 200, reply.body
        [made] = read(reply.body)
        assert made.registration_id is not None
        return made.registration_id

    async def write(self, id_: str, data: bytes | None = None, *, if_match: str | None = None) -> Reply:
        headers = {} if if_match is None else {"If-Match": if_match}
        return await self.ask("PUT", f"/registrations/{id_}", data=data or body(), headers=headers)

    async def remove(self, id_: str, *, if_match: str | None = "*") -> Reply:
        headers = {} if if_match is None else {"If-Match": if_match}
        return await self.ask("DELETE", f"/registrations/{id_}", headers=headers)

    async def listed(self, more: str = "", *, path: str = "/registrations") -> list[Registration]:
        """One page of a list."""
        reply = await self.ask("GET", path, query=f"?api-version=2017-04{more}")
        assert reply.status == 200, reply.body
        return read(reply.body)

    async def of_installation(self, id_: str) -> list[Registration]:
        return await self.listed(path=f"/tags/{quote(f'$InstallationId:{{{id_}}}')}/registrations")

    async def found(self, filter_: str) -> list[str | None]:
        """The ids that a filter finds, which is encoded as it has to be."""
        return [one.registration_id for one in await self.listed(f"&$filter={quote(filter_)}")]

    def masked(self, text: str) -> str:
        """A recorded or answered text without what differs each time: where the hub is, ids, and times."""
        text = text.replace(self.hub.url, "HUB")
        text = re.sub(ID, "ID", text)
        return re.sub(r">\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ<", ">TIME<", text)
