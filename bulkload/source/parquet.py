"""Rows of a Parquet file, each as a JSON text."""

import base64
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import orjson

from bulkload.errors import InputError
from bulkload.installation import Flaw
from bulkload.source.layout import FormName
from bulkload.source.lines import KEPT_OF_LONG_LINE, MAX_LINE, too_long
from bulkload.source.place import Batch, Broken, Place

if TYPE_CHECKING:
    import pyarrow as pa

# Rows read together: some 400 KiB of installations.
TOGETHER = 1024


class ParquetRows:
    """The form of a Parquet file: columns by name, offsets are ordinals of rows, reading on skips whole row groups.

    Dates are written as ISO 8601, decimals as text, bytes as the UTF-8 text that they are or else as ``{"base64": …}``,
    which is no value of an installation's.
    """

    name: ClassVar[FormName] = "parquet"
    columns = None
    delimiter = None

    def __init__(self, groups: list[int]) -> None:
        self._groups = groups
        self.number = sum(groups)
        """Of rows."""

    def __repr__(self) -> str:
        return f"<ParquetRows {self.number} in {len(self._groups)} groups>"

    @classmethod
    def of(cls, name: str, file: BinaryIO) -> "ParquetRows":
        """What the file says of itself; raises `InputError` where nothing is installed that reads it."""
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ModuleNotFoundError as exc:
            raise InputError(f"source {name} is Parquet; pip install 'bulkload[parquet]'") from exc
        with _broken():
            metadata = parquet.ParquetFile(file).metadata
            return cls([metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)])

    def batches(self, file: BinaryIO, start: Place) -> Iterator[Batch]:
        ordinal = start.offset
        group, before = 0, 0
        while group < len(self._groups) and before + self._groups[group] <= ordinal:
            before += self._groups[group]
            group += 1
        left = ordinal - before
        for rows in _read(file, range(group, len(self._groups))):
            part = rows.slice(min(left, rows.num_rows))
            left -= rows.num_rows - part.num_rows
            if part.num_rows:
                end = ordinal + part.num_rows
                yield Batch(_data(part), range(ordinal + 1, end + 1), range(ordinal, end), Place(end, end + 1))
                ordinal = end


@contextmanager
def _broken() -> Iterator[None]:
    """Raise `EOFError` for what pyarrow finds broken."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    try:
        yield
    except pa.ArrowException as exc:
        raise EOFError(str(exc).splitlines()[0]) from exc


def _read(file: BinaryIO, groups: range) -> Iterator["pa.RecordBatch"]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    with _broken():
        # Without pre_buffer, whose memory is that of whole row groups.
        opened = pq.ParquetFile(file, pre_buffer=False, coerce_int96_timestamp_unit="us")
        # No groups at all would mean every one of them.
        if groups:
            yield from opened.iter_batches(batch_size=TOGETHER, row_groups=list(groups))


def _data(rows: "pa.RecordBatch") -> list[bytes | Broken]:
    rows = _in_microseconds(rows)
    try:
        objects = rows.to_pylist(maps_as_pydicts="lossy")
    except (ValueError, OverflowError):
        # One of them holds what Python has no value for, such as a date after the year 9999.
        return [datum for number in range(rows.num_rows) for datum in _one(rows.slice(number, 1))]
    return [_datum(fields) for fields in objects]


def _one(row: "pa.RecordBatch") -> list[bytes | Broken]:
    try:
        return [_datum(fields) for fields in row.to_pylist(maps_as_pydicts="lossy")]
    except (ValueError, OverflowError) as exc:
        return [Broken(Flaw.of("not-json", f"the row cannot be written as JSON: {exc}"), b"", 0)]


def _datum(fields: dict[str, object]) -> bytes | Broken:
    try:
        data = orjson.dumps(fields, default=_written)
    except TypeError as exc:
        return Broken(Flaw.of("not-json", f"the row cannot be written as JSON: {exc}"), b"", 0)
    return too_long(data[:KEPT_OF_LONG_LINE], len(data)) if len(data) > MAX_LINE else data


def _written(value: object) -> str | dict[str, str]:
    """What JSON has no form for."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    return str(value)


def _in_microseconds(rows: "pa.RecordBatch") -> "pa.RecordBatch":
    """The same with times cut to what Python's have."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    fields, columns = [], []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        kind = field.type
        if pa.types.is_timestamp(kind) and kind.unit == "ns":
            kind = pa.timestamp("us", kind.tz)
        elif pa.types.is_time64(kind) and kind.unit == "ns":
            kind = pa.time64("us")
        fields.append(field.with_type(kind))
        columns.append(column if kind == field.type else column.cast(kind, safe=False))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
