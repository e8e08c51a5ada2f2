"""Tags: taken apart where they share a text, and made from values."""

from collections.abc import Iterator
from itertools import product
from math import prod

import orjson

from bulkload.errors import InputError
from bulkload.installation import Fields
from bulkload.mapping.expressions import Expression
from bulkload.mapping.paths import Unmappable


def split(text: str, separator: str) -> list[str]:
    """The tags of one text; blanks around them and empty ones are nothing that anybody meant."""
    tags = list(map(str.strip, text.split(separator)))
    return [tag for tag in tags if tag] if "" in tags else tags


def text_of(value: object) -> str | None:
    """The text of a single value, or None where it has none: JSON's words for booleans and numbers."""
    if type(value) is str:
        return value
    if type(value) in (int, bool, float):
        return orjson.dumps(value).decode() if type(value) is not int else str(value)
    return None


# Arrays multiply; an installation has some 60 tags.
MOST_TAGS = 10_000


class TagTexts:
    """What one ``--tag`` adds: the text with the values of its braces, none where one is empty, many for arrays.

    ``{{`` and ``}}`` are braces that belong to the tag itself.
    """

    def __init__(self, text: str) -> None:
        self._label = f"--tag {text}"
        self._pieces = tuple(_pieces(self._label, text))
        if not self._pieces:
            raise InputError("--tag is empty; write a tag such as country:{country}")
        self.name: str | None = None
        """The field whose value is all that it takes, where that is so; `before` and `after` stand around it."""
        self.before = self.after = ""
        match self._pieces:
            case (Expression(path=(name,)),):
                self.name = name
            case (str(before), Expression(path=(name,))):
                self.name, self.before = name, before
            case (Expression(path=(name,)), str(after)):
                self.name, self.after = name, after
            case (str(before), Expression(path=(name,)), str(after)):
                self.name, self.before, self.after = name, before, after

    def of(self, source_object: Fields) -> list[str]:
        """The tags for an object; raises `Unmappable`."""
        choices = [
            [piece] if isinstance(piece, str) else self._texts(piece.of(source_object)) for piece in self._pieces
        ]
        if prod(map(len, choices)) > MOST_TAGS:
            raise Unmappable(f"{self._label}: the arrays make more than {MOST_TAGS:,} tags")
        return ["".join(choice) for choice in product(*choices)]

    def _texts(self, value: object) -> list[str]:
        texts = []
        for element in value if type(value) is list else [value]:
            if element is None or element in ("", {}):
                continue
            text = text_of(element)
            if text is None:
                kind = "an array" if type(element) is list else "an object"
                raise Unmappable(f"{self._label}: a tag is made of texts, this is {kind}")
            texts.append(text)
        return texts


def _pieces(label: str, text: str) -> Iterator[str | Expression]:
    """The texts and expressions of which a tag is made, in order; raises `InputError`."""
    literal = ""
    at = 0
    while at < len(text):
        character = text[at]
        if character in "{}" and text[at + 1 : at + 2] == character:
            literal += character
            at += 2
        elif character == "{":
            end = _closing(text, at + 1)
            if end is None:
                raise InputError(
                    f"{label}: the brace at character {at + 1} is not closed; write {{{{ for a brace itself"
                )
            if literal:
                yield literal
                literal = ""
            yield Expression(label, text[at + 1 : end])
            at = end + 1
        elif character == "}":
            raise InputError(f"{label}: the brace at character {at + 1} closes none; write }}}} for a brace itself")
        else:
            literal += character
            at += 1
    if literal:
        yield literal


def _closing(text: str, at: int) -> int | None:
    """Where the expression that begins at `at` ends; it may hold braces and quoted texts of its own."""
    depth = 0
    quote = ""
    while at < len(text):
        character = text[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif character in "'\"`":
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            if not depth:
                return at
            depth -= 1
        at += 1
    return None
