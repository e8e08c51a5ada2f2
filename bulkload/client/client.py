"""The hub's REST operations, each paced, signed, retried and judged like an upload."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import orjson
import tenacity

from bulkload.client.call import LARGEST_ANSWER, Call, CallTransport
from bulkload.client.open_files import connections_within_limit
from bulkload.client.settings import Requesting
from bulkload.errors import CallFailed, Halt, InputError, as_one_failure
from bulkload.hub import Hub
from bulkload.installation import Fields, shown
from bulkload.pace import Pacer
from bulkload.record import Outcome
from bulkload.registration import FeedError, Handle, Registration, addressable, entry, read
from bulkload.retry import Backoff
from bulkload.sas import Signer
from bulkload.upload import IN_HAND_PER_WORKER, Ending, Requests, Upload
from bulkload.wire import ANSWER_TIMEOUT, Answer

# Registrations in one page; what the service's own SDKs ask for.
TOP = 100

# An answer that cannot be read is asked for again this often: what cut it short may be over.
TRIES_TO_READ = 3

# What a location without an id ends with.
_COLLECTIONS = ("", "registrations", "registrationids")

# Which signs are not percent-encoded, by the habits of those who spell addresses.
_LEFT_AS_THEY_ARE = ("", "'", "/", "/'", "!'()*", ":/?#[]@!$&'()*+,;=")

# It comes encoded for an address.
_is_token = re.compile("[!-~]+").fullmatch

_ENTRY = MappingProxyType({"Content-Type": "application/atom+xml;type=entry;charset=utf-8"})


@dataclass(frozen=True, slots=True)
class Page:
    """Registrations that came in one answer; `token` asks for those after them, None where these are the last."""

    registrations: list[Registration]
    token: str | None


class Client:
    """A hub's operations, for as long as its ``async with`` block lasts.

    Every operation raises `CallFailed` where the hub refuses it or all attempts fail, and `Halt` where the hub cannot
    be used at all; all others of this client then raise that, too. `requests` counts what its requests came to.
    """

    def __init__(self, hub: Hub, settings: Requesting | None = None) -> None:
        self._hub = hub
        self._settings = settings or Requesting()
        self._numbers = count(1)
        self._open: set[Call] = set()
        self._halted: Halt | None = None
        # Whoever waits in the upload is woken by every change of it.
        self._room = asyncio.Semaphore(IN_HAND_PER_WORKER * self._settings.workers)
        self._upload: Upload[Call] | None = None
        self.requests = Requests()

    def __repr__(self) -> str:
        return f"<Client of {self._hub.identity}, {len(self._open)} calls open>"

    async def __aenter__(self) -> Self:
        settings = self._settings
        workers = connections_within_limit(settings.workers)
        ca_file = Path(settings.ca_file) if settings.ca_file is not None else None
        # What waits for a call waits no longer than the call may take.
        patience = min(settings.traits.patience, settings.record_timeout)
        self._transport = CallTransport(
            self._hub,
            connections=workers,
            api_version=settings.api_version,
            ca_file=ca_file,
            answer_timeout=min(ANSWER_TIMEOUT, settings.record_timeout),
        )
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._upload = Upload(
            self._transport,
            Signer(self._hub.url, self._hub.key_name, self._hub.key),
            settle=self._settle,
            accept=self._accept,
            halt=self._halt,
            pacer=Pacer(cap=settings.rate, workers=workers, now=time.monotonic()),
            backoff=Backoff(max_attempts=settings.max_attempts, record_timeout=settings.record_timeout),
            workers=workers,
            tasks=self._tasks,
            clock=time.monotonic,
            ends_when_gone=True,
            traits=replace(settings.traits, patience=patience),
        )
        self.requests = self._upload.requests
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            assert self._upload is not None
            with as_one_failure():
                await self._upload.stop(0.0)
                await self._tasks.__aexit__(exc_type, exc, traceback)
        finally:
            self._end_open(self._closed)
            await self._transport.close()

    @property
    def in_flight(self) -> int:
        """Requests that are waiting for their answer."""
        return self._upload.in_flight if self._upload is not None else 0

    # Registrations.

    async def create_registration_id(self) -> str:
        """A new id for a registration, which is not created by that."""
        what = "a new registration id"
        answer = await self._call("POST", "/registrationIDs/", what, headers=_ENTRY, accepts=(200, 201))
        # The specification promises the one, the service sends the other.
        for name in ("Content-Location", "Location"):
            if id_ := _id_at(answer.headers.get(name, "")):
                return id_
        raise CallFailed(f"hub {self._hub.name} answered without a registration id; check the Endpoint")

    def registrations(self, handle: Handle, *, top: int = TOP) -> AsyncGenerator[Registration, None]:
        """All registrations of a device, read in pages of `top`."""
        return _each(self.pages_of(handle, top=top))

    def registrations_with_tag(self, tag: str, *, top: int = TOP) -> AsyncGenerator[Registration, None]:
        """All registrations that bear a tag."""
        return _each(self.pages_with_tag(tag, top=top))

    def all_registrations(self, *, top: int = TOP) -> AsyncGenerator[Registration, None]:
        """All registrations of the hub."""
        return _each(self.pages(top=top))

    def pages_of(self, handle: Handle, *, top: int = TOP) -> AsyncGenerator[Page, None]:
        """All registrations of a device, page by page."""
        path = f"/registrations/?$filter={handle.filter}"
        what = f"the registrations of channel {handle.digest}"
        return self._pages(path, what, top=top, secrets=_secrets(handle))

    def pages_with_tag(self, tag: str, *, top: int = TOP) -> AsyncGenerator[Page, None]:
        """Pages of all registrations that bear a tag; raises `InputError` for what is none."""
        path = f"/tags/{quote(addressable(tag, 'tag'), safe='')}/registrations"
        return self._pages(path, f"the registrations with tag {shown(tag)}", top=top)

    def pages(self, *, top: int = TOP, token: str | None = None) -> AsyncGenerator[Page, None]:
        """Pages of all registrations of the hub; `token` goes on after the page that bore it."""
        return self._pages("/registrations", "all registrations", top=top, token=token)

    async def registration(self, id: str) -> Registration | None:  # noqa: A002
        """One registration; None where there is none of this id."""
        answer = await self._call("GET", _of_registration(id), _registration(id), accepts=(200, 404))
        return None if answer.status == 404 else self._only(answer, id)

    async def put_registration(self, registration: Registration, *, etag: str | None = None) -> Registration:
        """Create a registration or overwrite it, and return it as the hub has it.

        Without a registration id it gets a new one first, so that no retry creates it twice. With `etag` (``*`` for
        any) only one that is there, and has not changed since, is overwritten.
        """
        id_ = registration.registration_id or await self.create_registration_id()
        body = entry(replace(registration, registration_id=id_, etag=None, expiration_time=None))
        headers = {**_ENTRY, **({"If-Match": _quoted(etag)} if etag is not None else {})}
        secrets = _secrets(registration.handle) if registration.handle is not None else ()
        path, what = _of_registration(id_), _registration(id_)
        answer = await self._call("PUT", path, what, headers=headers, body=body, accepts=(200, 201), secrets=secrets)
        return self._only(answer, id_)

    async def delete_registration(self, id: str, *, etag: str = "*") -> bool:  # noqa: A002
        """Delete a registration, if it has not changed since it had this etag; returns whether there was one."""
        headers = {**_ENTRY, "If-Match": _quoted(etag)}
        path, what = _of_registration(id), _registration(id)
        answer = await self._call("DELETE", path, what, headers=headers, accepts=(200, 204, 404))
        return answer.status != 404

    # Installations.

    async def installation(self, id: str) -> Fields | None:  # noqa: A002
        """One installation; None where there is none of this id. The service throttles this tightly."""
        answer = await self._call("GET", _of_installation(id), _installation(id), accepts=(200, 404))
        if answer.status == 404:
            return None
        try:
            fields = orjson.loads(answer.body)
        except orjson.JSONDecodeError as exc:
            raise self._unreadable(_installation(id), exc) from exc
        if not isinstance(fields, dict):
            raise CallFailed(f"hub {self._hub.name}: the answer for {_installation(id)} is no object")
        return fields

    async def delete_installation(self, id: str) -> None:  # noqa: A002
        """Delete an installation, if there is one: the service does not say."""
        await self._call("DELETE", _of_installation(id), _installation(id), accepts=(200, 204, 404))

    # What they stand on.

    async def _pages(
        self, path: str, what: str, *, top: int, token: str | None = None, secrets: Sequence[str] = ()
    ) -> AsyncGenerator[Page, None]:
        """Page after page to the last one."""
        path += f"{'&' if '?' in path else '?'}$top={top}"
        seen: set[int] = set()
        for number in count(1):
            # It comes encoded: to encode or decode it once more would break it.
            where = path if token is None else f"{path}&ContinuationToken={token}"
            page = await self._page(where, f"page {number} of {what}", secrets)
            yield page
            token = page.token
            if token is None:
                return
            if hash(token) in seen:
                raise CallFailed(f"hub {self._hub.name}: page {number} of {what} leads back to an earlier page")
            seen.add(hash(token))

    async def _page(self, path: str, what: str, secrets: Sequence[str]) -> Page:
        with suppress(FeedError):
            return await self._read_page(path, what, secrets)
        # Only now: where the first answer can be read, this would be a tenth of what a page costs.
        tries = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(TRIES_TO_READ - 1),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
            retry=tenacity.retry_if_exception_type(FeedError),
            reraise=True,
        )
        try:
            return await tries(self._read_page, path, what, secrets)
        except FeedError as exc:
            raise self._unreadable(what, exc) from exc

    async def _read_page(self, path: str, what: str, secrets: Sequence[str]) -> Page:
        answer = await self._call("GET", path, what, secrets=secrets)
        if len(answer.body) > LARGEST_ANSWER:
            too_long = ValueError(f"it is longer than {LARGEST_ANSWER // 1024 // 1024} MiB; ask for fewer with --top")
            raise self._unreadable(what, too_long)
        token = answer.headers.get("x-ms-continuationtoken") or None
        if token is not None and not _is_token(token):
            raise FeedError("its continuation token cannot stand in an address")
        return Page(read(answer.body), token)

    def _only(self, answer: Answer, id_: str) -> Registration:
        try:
            found = read(answer.body)
        except FeedError as exc:
            raise self._unreadable(_registration(id_), exc) from exc
        if not found:
            raise CallFailed(f"hub {self._hub.name}: the answer for {_registration(id_)} holds none")
        return found[0]

    def _unreadable(self, what: str, exc: ValueError) -> CallFailed:
        return CallFailed(f"hub {self._hub.name}: {what} cannot be read: {exc}")

    async def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: bytes = b"",
        accepts: Collection[int] = (200,),
        secrets: Sequence[str] = (),
    ) -> Answer:
        """The answer to a request; `what` it is for is told where it fails."""
        call = Call(
            str(next(self._numbers)), method, path, headers=headers, body=body, accepts=accepts, secrets=secrets
        )
        self._open.add(call)
        try:
            async with self._room:
                if self._upload is None or not await self._upload.admit(call):
                    raise self._closed
                return await call.ended
        except CallFailed as exc:
            raise CallFailed(f"hub {self._hub.name}: {what}: {exc}", is_refused=exc.is_refused) from exc
        finally:
            self._open.discard(call)
            if call.ended.done() and not call.ended.cancelled():
                # Of one that a halt kept from being sent nobody else asks how it ended.
                call.ended.exception()

    @property
    def _closed(self) -> Halt:
        """Why nothing is sent any more."""
        return self._halted or Halt("the client is closed")

    def _accept(self, calls: Sequence[Call], _: float) -> None:
        for call in calls:
            # Whoever asked may be gone.
            if not call.ended.done():
                assert call.answer is not None
                call.ended.set_result(call.answer)

    def _settle(self, call: Call, ending: Ending) -> None:
        if call.ended.done():
            return
        if ending.outcome is Outcome.ACCEPTED:
            # What was asked for comes by `_accept`.
            call.ended.set_exception(CallFailed(f"{ending.status} is no answer to this request"))
        else:
            is_refused = ending.outcome is Outcome.REJECTED
            call.ended.set_exception(CallFailed(ending.detail or ending.outcome.word, is_refused=is_refused))

    def _halt(self, halt: Halt) -> None:
        self._halted = halt
        self._end_open(halt)

    def _end_open(self, halt: Halt) -> None:
        for call in self._open:
            if not call.ended.done():
                call.ended.set_exception(halt)


async def _each(pages: AsyncGenerator[Page, None]) -> AsyncGenerator[Registration, None]:
    async with aclosing(pages):
        async for page in pages:
            for registration in page.registrations:
                yield registration


def _registration(id_: str) -> str:
    return f"registration {shown(id_)}"


def _installation(id_: str) -> str:
    return f"installation {shown(id_)}"


def _of_registration(id_: str) -> str:
    return f"/registrations/{_named(id_)}"


def _of_installation(id_: str) -> str:
    return f"/installations/{_named(id_)}"


def _named(id_: str) -> str:
    """An id as a part of an address; one of these would name something larger, which DELETE would delete."""
    if id_ in ("", ".", ".."):
        raise InputError(f"{id_!r} is no id of a registration or an installation")
    return quote(id_, safe="")


def _id_at(location: str) -> str | None:
    """The registration id that a location ends with."""
    try:
        last = urlsplit(location).path.rstrip("/").rpartition("/")[2]
    except ValueError:
        return None
    return last if last.lower() not in _COLLECTIONS else None


def _quoted(etag: str) -> str:
    """An etag as a header has it: registrations tell theirs as a bare number."""
    return etag if etag == "*" or '"' in etag else f'W/"{etag}"'


def _secrets(handle: Handle) -> list[str]:
    """What an answer may repeat of a handle: its values, as they are and as addresses spell them, the longest first."""
    values = {form for _, value in handle.parts for form in (value, value.replace("'", "''"))}
    encoded = {quote(value, safe=safe) for value in values for safe in _LEFT_AS_THEY_ARE}
    return sorted(values | encoded, key=len, reverse=True)
