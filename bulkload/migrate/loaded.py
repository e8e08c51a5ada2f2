"""The channels whose installations a load brought into the hub, by its ledger and its source."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path

from bulkload.errors import InputError
from bulkload.hub import Hub
from bulkload.installation import Flaw, Installation
from bulkload.ledger import accepted_again, accepted_in, read_state
from bulkload.load.recipe import api_version_of, reading_of
from bulkload.record import Outcome
from bulkload.registration import Handle
from bulkload.source import START, Broken, FileSource
from bulkload.source.files import printable


@dataclass(frozen=True, slots=True)
class LoadedChannel:
    """A channel, and the installation that was accepted for it."""

    handles: tuple[Handle, ...]
    installation_id: str

    @property
    def digest(self) -> str:
        """The sha256 of the channel, in hex."""
        return self.handles[0].channel_digest


class Loaded:
    """What of a file of installations the hub accepted, as a load's ledger shows it.

    Reads the file as that load did. Raises `InputError` for a ledger of another hub or another source.
    """

    def __init__(self, devices: Path, ledger: Path, *, hub: Hub) -> None:
        self._ledger = ledger
        self._hub = hub
        self._name = printable(str(ledger))
        self._state = read_state(ledger)
        if self._state.run.hub != hub.identity:
            raise InputError(f"ledger {self._name} is of hub {self._state.run.hub}, not {hub.identity}; --hub names it")
        self._reading = reading_of(self._state, self._name, transform=None)
        self._source = FileSource(devices, self._reading.layout)
        self.records = 0
        self.accepted = 0

    def __repr__(self) -> str:
        return f"<Loaded {self._source.name} by {self._name}>"

    def __str__(self) -> str:
        return f"{self._source.name}, loaded into hub {self._hub.name} at {self._hub.host} by {self._name}"

    @property
    def api_version(self) -> str:
        """The api-version that the load sent."""
        return api_version_of(self._state)

    @property
    def size(self) -> int:
        """How many installations were accepted."""
        return self._state.totals.get(Outcome.ACCEPTED, 0)

    async def channels(self) -> AsyncGenerator[LoadedChannel, None]:
        """Each channel whose installation was accepted, in the order of the file.

        Of several channels with one installation only the last one has it: the hub may show it at the others for a
        while, before it has worked through what it queued.
        """
        number = await self._number()
        intake = self._reading.intake(api_version=self.api_version)
        end = self._state.marks[number].read
        last = accepted_again(self._ledger)
        with closing(accepted_in(self._ledger, number, 0, end)) as accepted:
            following = next(accepted, None)
            async with aclosing(self._source.batches(START)) as batches:
                async for batch in batches:
                    for datum in batch.data:
                        for made in (datum.flaw,) if isinstance(datum, Broken) else intake.records(datum):
                            if made is None:
                                continue
                            position = self.records
                            self.records += 1
                            if following is None or following.position != position:
                                continue
                            id_ = following.installation_id
                            following = next(accepted, None)
                            if last.get(id_, (number, position)) != (number, position):
                                continue
                            if (channel := _channel(made, id_)) is not None:
                                self.accepted += 1
                                yield channel

    async def _number(self) -> int:
        fingerprint = await self._source.fingerprint()
        try:
            return self._state.run.fingerprints.index(fingerprint)
        except ValueError:
            raise InputError(
                f"{self._source.name} is not what ledger {self._name} was made of: it has changed since, or it is "
                "another file; give both as they were for the load"
            ) from None


def _channel(made: Installation | Flaw, id_: str) -> LoadedChannel | None:
    """None where the file makes another installation than the ledger shows."""
    if isinstance(made, Flaw) or made.id != id_:
        return None
    try:
        return LoadedChannel(tuple(Handle.all_of_installation(made.fields)), id_)
    except InputError:
        return None
