"""The mappings themselves: rows as they stand, and source objects by the flags."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from bulkload.installation import FIELDS, LONGEST_KEPT_ID, Fields, Finding, Flaw
from bulkload.mapping.expressions import FAILURES, Expression, is_true
from bulkload.mapping.flags import TAG_SEPARATOR
from bulkload.mapping.mapping import Mapped
from bulkload.mapping.paths import Unmappable, with_user
from bulkload.mapping.preset import Preset
from bulkload.mapping.rows import Header, Rows
from bulkload.mapping.steps import Step
from bulkload.mapping.tags import split, text_of
from bulkload.mapping.transform import TransformRun

# The enclosing object of an element, and of what a function yields.
PARENT = "_parent"

# What an element is called that is no object itself.
VALUE = "_value"


class Nesting:
    """No mapping: JSON objects are left as they are, and a row is the installation that its columns describe."""

    leaves_objects = True

    def __init__(self, tag_separator: str = TAG_SEPARATOR, *, fingerprint: str = "") -> None:
        self.fingerprint = fingerprint
        self._rows = Rows(tag_separator)

    def __repr__(self) -> str:
        return "<Nesting>"

    def read(self, text: bytes) -> object:
        return orjson.loads(text)

    def installations(self, source_object: Fields) -> Sequence[Mapped]:
        return (({**source_object}, ()),)

    def of_row(self, row: Fields) -> Sequence[Mapped]:
        try:
            header = self._rows.header(row)
            return ((self._rows.installation(row, header), header.unknown),)
        except Unmappable as exc:
            return (_known(exc.flaw, row),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the flags and the preset say, compiled."""

    fingerprint: str
    tag_separator: str
    preset: Preset | None
    json_columns: tuple[str, ...]
    each: Expression | None
    where: Expression | None
    transform: TransformRun | None
    steps: tuple[Step, ...]
    id_step: Step | None
    """The step of --id-from, among `steps` as well: a record that cannot be mapped is known by its id all the same."""
    id_expression: Expression | None
    """What the id is mapped from."""
    mends: tuple[Callable[[Fields], Iterable[Finding]], ...]
    replaced: frozenset[str]
    """The top-level fields that an object's own are not taken for."""


class FlagMapping:
    """The mapping that flags and a preset describe."""

    leaves_objects = False

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._steps = plan.steps
        self._mends = plan.mends
        self._rows = Rows(plan.tag_separator, plan.replaced)
        self._own = FIELDS - plan.replaced
        self._is_direct = not (self._has_stages or plan.json_columns or plan.where)

    def __repr__(self) -> str:
        return f"<FlagMapping {self.fingerprint}>"

    @property
    def fingerprint(self) -> str:
        return self._plan.fingerprint

    @property
    def _has_stages(self) -> bool:
        """Whether an object may become any number of others."""
        plan = self._plan
        objects = plan.preset.objects if plan.preset is not None else None
        return any(stage is not None for stage in (objects, plan.each, plan.transform))

    def read(self, text: bytes) -> object:
        preset = self._plan.preset
        return preset.read(text) if preset is not None and preset.read is not None else orjson.loads(text)

    def installations(self, source_object: Fields) -> Iterable[Mapped]:
        if self._is_direct:
            return (self._mapped(self._own_fields(source_object), source_object),)
        return self._staged(source_object, is_row=False)

    def of_row(self, row: Fields) -> Iterable[Mapped]:
        if not self._is_direct:
            return self._staged(row, is_row=True)
        try:
            header = self._rows.header(row)
            view = row if header.is_plain else self._rows.view(row, header)
            return (self._mapped(self._rows.own(view, header.own), view),)
        except Unmappable as exc:
            return (self._flaw(exc.flaw, {}, row),)

    def _staged(self, source_object: Fields, *, is_row: bool) -> Iterator[Mapped]:
        """The long way, through every stage."""
        try:
            for first in self._objects(source_object):
                yield from self._through(self._with_json(first), is_row=is_row)
        except Unmappable as exc:
            yield self._flaw(exc.flaw, {}, source_object)

    def _objects(self, source_object: Fields) -> Iterator[Fields]:
        preset = self._plan.preset
        if preset is None or preset.objects is None:
            yield source_object
            return
        try:
            yield from preset.objects(source_object)
        except FAILURES as exc:
            words = f"--preset {preset.name}: the object is not what it expects ({type(exc).__name__})"
            raise Unmappable(words) from exc

    def _with_json(self, source_object: Fields) -> Fields:
        for column in self._plan.json_columns:
            text = source_object.get(column)
            if type(text) is not str or not text.strip():
                continue
            try:
                source_object = {**source_object, column: orjson.loads(text)}
            except orjson.JSONDecodeError as exc:
                raise Unmappable(f"--json-column {column}: not a JSON text: {exc}") from exc
        return source_object

    def _through(self, source_object: Fields, *, is_row: bool) -> Iterator[Mapped]:
        plan = self._plan
        if plan.transform is not None:
            yield from self._transformed(plan.transform, source_object)
            return
        header = self._rows.header(source_object) if is_row else None
        view = source_object if header is None else self._rows.view(source_object, header)
        if plan.each is None:
            yield from self._kept(view, header)
            return
        for element in _elements(plan.each.of(view), view):
            yield from self._kept(element, None)

    def _kept(self, source_object: Fields, header: Header | None) -> Iterator[Mapped]:
        """The installation of an object, unless `where` leaves it out."""
        where = self._plan.where
        try:
            if where is not None and not is_true(where.of(source_object)):
                yield None
                return
        except Unmappable as exc:
            yield self._flaw(exc.flaw, {}, source_object)
            return
        own = self._own_fields(source_object) if header is None else self._rows.own(source_object, header.own)
        yield self._mapped(own, source_object)

    def _transformed(self, transform: TransformRun, source_object: Fields) -> Iterator[Mapped]:
        for made in transform.of(source_object):
            if isinstance(made, Flaw):
                yield _known(made, source_object)
                continue
            fields = {name: value for name, value in made.items() if value is not None and value != ""}
            yield self._mapped(self._split(fields), {**made, PARENT: source_object})

    def _own_fields(self, source_object: Fields) -> Fields:
        own = self._own
        return self._split({name: value for name, value in source_object.items() if name in own})

    def _split(self, fields: Fields) -> Fields:
        """A new object's fields as the steps want them: tags as a list, the user under the name that is sent."""
        tags = fields.get("tags")
        if tags.__class__ is str:
            fields["tags"] = split(tags, self._plan.tag_separator)
        return with_user(fields)

    def _mapped(self, fields: Fields, source_object: Fields) -> Mapped:
        """`fields` is an installation's beginning, and written into; `source_object` is what expressions see."""
        try:
            for step in self._steps:
                step(fields, source_object)
            if not self._mends:
                return fields, ()
            return fields, tuple(finding for mend in self._mends for finding in mend(fields))
        except Unmappable as exc:
            return self._flaw(exc.flaw, fields, source_object)

    def _flaw(self, flaw: Flaw, fields: Fields, source_object: Fields) -> Flaw:
        """A flaw with the id that the record would have had, as far as that is known."""
        if flaw.code == "id-missing":
            return flaw
        plan = self._plan
        try:
            if plan.id_step is not None:
                plan.id_step(fields, source_object)
            elif plan.id_expression is not None:
                fields = {"installationId": text_of(plan.id_expression.of(source_object)), **fields}
            elif "installationId" not in fields and "installationId" not in plan.replaced:
                fields = source_object
        except Unmappable:
            return flaw
        return _known(flaw, fields)


def _elements(value: object, enclosing: Fields) -> Iterator[Fields]:
    """The objects that an EXPR of --each yields: one is one, null is none, and what is no object is a field of one."""
    for element in value if type(value) is list else [value]:
        if type(element) is dict:
            yield {**element, PARENT: enclosing}
        elif element is not None:
            yield {VALUE: element, PARENT: enclosing}


def _known(flaw: Flaw, fields: Fields) -> Flaw:
    id_ = fields.get("installationId")
    return Flaw(flaw.findings, id_[:LONGEST_KEPT_ID]) if type(id_) is str and id_ else flaw
