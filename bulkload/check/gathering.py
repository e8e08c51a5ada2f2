"""What is remembered of every source object while a check reads: counts, and what the end needs to find duplicates."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import orjson

from bulkload.check.duplicates import DIGEST, Duplicates, Found
from bulkload.check.places import Places
from bulkload.check.spill import Spill
from bulkload.check.tags import Tags
from bulkload.check.tally import Tally
from bulkload.installation import Fields, Flaw, Installation
from bulkload.mapping import Intake
from bulkload.report import checked
from bulkload.report.checked import RecordsChecked, Repeated, Shown, Spot, TagsUsed, TagUses, Twice
from bulkload.source import Batch, Broken, Datum

# Records whose columns are worked on together; work for each bundle is paid once for all of them.
BUNDLE = 512

# A bundle is also closed when its records bring so many tags: one record may have thousands.
BUNDLE_TAGS = 50_000

# What is shown of a text: it may be a line of 1 MiB.
LONGEST_SHOWN = 4096

# Told of every invalid record: its source's number, its position, its source object with offset and line, and why.
Refuse = Callable[[int, int, Datum, int, int, Flaw], None]


class Gathering:
    """Takes batches of source objects, source after source; what it found is told by its properties and `duplicates`.

    `refuse` is told of every invalid record. Only valid records count for platforms, tags and duplicates: they are what
    a load sends.
    """

    def __init__(self, intake: Intake, spill: Spill, names: Sequence[str]) -> None:
        self.invalid = 0
        self.filtered = 0
        self.source_objects = 0
        self.tally = Tally()
        self._intake = intake
        self._names = names
        self.refuse: Refuse | None = None
        self._source = 0
        self._read_before = 0
        self._bundle = _Bundle()
        self._places = Places(spill)
        self._ids = Duplicates(spill)
        self._channels = Duplicates(spill)
        self._tags = Tags(spill)
        self._platforms: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Gathering of {self.read} records>"

    @property
    def valid(self) -> int:
        return self._places.count + len(self._bundle.ids)

    @property
    def read(self) -> int:
        return self.valid + self.invalid

    @property
    def records(self) -> RecordsChecked:
        return RecordsChecked(self.source_objects, self.read, self.valid, self.invalid, self.filtered)

    def begin(self, source: int) -> None:
        """The batches that follow are of the source of this number."""
        self.close_bundle()
        self._source = source
        self._read_before = self.read

    def take(self, batch: Batch) -> None:
        """Check the source objects of a batch and remember them: 0.2 us a record in this loop, 0.5 for all bundles."""
        bundle = self._bundle
        add_id, add_platform = bundle.ids.append, bundle.platforms.append
        add_channel, add_tags = bundle.channels.append, bundle.tags.extend
        lines = batch.lines
        # Offsets are worked out as they are read.
        offsets = list(batch.offsets) if self.refuse is not None else []
        passed_over: set[int] = set()
        records, origins = self._records(batch)
        for index, one in enumerate(records):
            if isinstance(one, Installation):
                fields = one.fields
                if one.warnings:
                    self.tally.add("warning", one.warnings, self._spot(lines[origins[index]], one.id))
                    fields = _sound(fields)
                add_id(one.id)
                add_platform(fields["platform"])
                add_channel(fields["pushChannel"])
                if tags := fields.get("tags"):
                    add_tags(tags)
            else:
                passed_over.add(index)
                if one is None:
                    self.filtered += 1
                else:
                    origin = origins[index]
                    self._note(batch.data[origin], lines[origin], offsets[origin] if offsets else 0, one)
        # Taken together: to keep the line of each record in turn would cost 0.05 us more.
        if isinstance(origins, range) and not passed_over:
            bundle.lines += lines
        else:
            bundle.lines += [lines[origin] for index, origin in enumerate(origins) if index not in passed_over]
        self.source_objects += len(batch.data)
        if len(bundle.ids) >= BUNDLE or len(bundle.tags) >= BUNDLE_TAGS:
            self.close_bundle()

    def _records(self, batch: Batch) -> tuple[Iterable[Installation | Flaw | None], Sequence[int]]:
        """The records of a batch, and for each that was taken the place of its source object there."""
        if self._intake.leaves_texts and set(map(type, batch.data)) == {bytes}:
            return map(self._intake.record, batch.data), range(len(batch.data))  # type: ignore[arg-type]
        origins: list[int] = []
        return self._all_records(batch.data, origins), origins

    def _all_records(self, data: Sequence[Datum], origins: list[int]) -> Iterator[Installation | Flaw | None]:
        add_origin, records_of = origins.append, self._intake.records
        for origin, datum in enumerate(data):
            for one in (datum.flaw,) if isinstance(datum, Broken) else records_of(datum):
                add_origin(origin)
                yield one

    def _note(self, datum: Datum, line: int, offset: int, flaw: Flaw) -> None:
        self.invalid += 1
        self.tally.add("error", flaw.findings, self._spot(line, flaw.id))
        if self.refuse is not None:
            position = self.read - 1 - self._read_before
            self.refuse(self._source, position, datum, offset, line, flaw)

    def _spot(self, line: int, id_: str | None) -> Spot:
        return Spot(self._names[self._source], line, id_)

    def close_bundle(self) -> None:
        """Put the columns of the records since the last bundle where they belong."""
        bundle = self._bundle
        if not bundle.ids:
            return
        first = self._places.count
        self._places.add(self._source, bundle.lines, bundle.ids)
        self._platforms.update(bundle.platforms)
        self._tags.add(bundle.tags)
        numbers: Sequence[int] = range(first, first + len(bundle.ids))
        owners = self._ids.add(bundle.ids, numbers)
        channels = bundle.channels
        if "apns" in self._platforms:
            # Hex means the same in either case.
            channels = [
                channel.lower() if platform == "apns" and channel.__class__ is str else channel
                for channel, platform in zip(channels, bundle.platforms, strict=True)
            ]
        if "browser" in self._platforms or set(map(type, channels)) != {str}:
            handles = [_handle(channel) for channel in channels]
            kept = [index for index, handle in enumerate(handles) if handle]
            numbers = [numbers[index] for index in kept]
            owners = b"".join([owners[DIGEST * index : DIGEST * (index + 1)] for index in kept])
            channels = [handles[index] for index in kept]
        self._channels.add(channels, numbers, owners)
        bundle.clear()

    @property
    def platforms(self) -> dict[str, int]:
        """Records by platform, the commonest first."""
        counts = sorted(self._platforms.items(), key=lambda counted: (-counted[1], counted[0]))
        return {platform: count for platform, count in counts if platform}

    def tags(self) -> TagsUsed:
        distinct, commonest = self._tags.count()
        return TagsUsed(distinct, tuple(TagUses(tag, uses) for tag, uses in commonest))

    def duplicates(self) -> checked.Duplicates:
        """Look everything through; takes about 0.1 us a record."""
        return checked.Duplicates(self._repeated(self._ids.find()), self._repeated(self._channels.find()))

    def _repeated(self, found: Found) -> Repeated:
        spot = self._places.spot
        examples = (Twice(spot(pair.first, self._names), spot(pair.again, self._names)) for pair in found.examples)
        return Repeated(found.values, found.records, found.strangers, tuple(examples))

    def show(self, batch: Batch, number: int) -> Iterator[Shown]:
        """The first source objects of a batch before and after."""
        for datum, line in zip(batch.data[:number], batch.lines, strict=False):
            before = _shown(datum)
            made = (datum.flaw,) if isinstance(datum, Broken) else self._intake.records(datum)
            yield Shown(
                self._names[self._source],
                line,
                before,
                tuple(_cut(one.body) for one in made if isinstance(one, Installation)),
                tuple(str(finding) for one in made if isinstance(one, Flaw) for finding in one.findings),
            )


class _Bundle:
    """The columns of valid records."""

    __slots__ = ("channels", "ids", "lines", "platforms", "tags")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.lines: list[int] = []
        self.platforms: list[str] = []
        self.channels: list[Any] = []
        self.tags: list[str] = []

    def clear(self) -> None:
        for column in (self.ids, self.lines, self.platforms, self.channels, self.tags):
            column.clear()


def _sound(fields: Fields) -> Fields:
    """What is gathered of a record with warnings: a user may have allowed it to be of any form."""
    platform, tags = fields.get("platform"), fields.get("tags")
    return {
        "platform": platform if isinstance(platform, str) else "",
        "pushChannel": fields.get("pushChannel"),
        "tags": [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else None,
    }


def _handle(channel: object) -> str | None:
    """What tells a push channel from another: a browser's endpoint, also of an object written as a JSON text."""
    if isinstance(channel, str):
        if not channel.startswith("{"):
            return channel
        with suppress(orjson.JSONDecodeError):
            return _handle(orjson.loads(channel)) or channel
        return channel
    endpoint = channel.get("endpoint") if isinstance(channel, dict) else None
    return endpoint if isinstance(endpoint, str) else None


def _shown(datum: Datum) -> str:
    if isinstance(datum, Broken):
        return _cut(datum.text)
    if isinstance(datum, bytes):
        return _cut(datum)
    return _cut(json.dumps(datum, default=str, ensure_ascii=False).encode(errors="replace"))


def _cut(text: bytes) -> str:
    cut = text[:LONGEST_SHOWN].decode(errors="replace")
    return cut if len(text) <= LONGEST_SHOWN else f"{cut}…"
