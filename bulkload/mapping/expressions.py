"""Expressions: JMESPath compiled once, its plain paths to a bare look-up."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from jmespath import exceptions, functions, parser, visitor

from bulkload.errors import InputError
from bulkload.installation import Fields
from bulkload.mapping.paths import Path, Unmappable

_NAME = r'(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\\]|\\.)+")'
_PLAIN = re.compile(rf"{_NAME}(?:\.{_NAME})*")
_NAMES = re.compile(_NAME)

# A text that somebody may have meant as a plain name.
_LIKE_A_NAME = re.compile(r"[\w .:/-]+")

# What JMESPath's functions and comparisons raise on values that they do not expect.
FAILURES = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)

_FUNCTIONS: dict[str, dict[str, Any]] = functions.Functions.FUNCTION_TABLE


class Expression:
    """What an EXPR yields for an object; `path` is set where it is a plain one.

    `label` is what messages call it: the flag and its text.
    """

    __slots__ = ("label", "of", "path")

    def __init__(self, label: str, text: str) -> None:
        self.label = label
        text = text.strip()
        self.path = _plain_path(text)
        self.of: Callable[[Fields], Any] = _look_up(self.path) if self.path else _evaluate(label, text)

    def __repr__(self) -> str:
        return f"<Expression {self.label}>"


def is_true(value: object) -> bool:
    """JMESPath's truth: 0 is true, an empty text, list or object is not."""
    return not (value is None or value is False or value in ("", [], {}))


def _plain_path(text: str) -> Path | None:
    if not _PLAIN.fullmatch(text):
        return None
    try:
        return tuple(json.loads(name) if name[0] == '"' else name for name in _NAMES.findall(text))
    except ValueError:
        return None


def _look_up(path: Path) -> Callable[[Fields], Any]:
    first, *rest = path
    if not rest:
        return lambda fields: fields.get(first)

    def of(fields: Fields) -> Any:
        value: Any = fields.get(first)
        for name in rest:
            if type(value) is not dict:
                return None
            value = value.get(name)
        return value

    return of


def _evaluate(label: str, text: str) -> Callable[[Fields], Any]:
    try:
        tree = parser.Parser().parse(text).parsed
        _require_known_functions(tree)
    except (exceptions.JMESPathError, RecursionError) as exc:
        raise InputError(f"{label}: {_reason(exc, text)}") from exc
    # One interpreter for all: jmespath's own `search` makes one for each call, which costs 1 us.
    visit = visitor.TreeInterpreter().visit

    def of(fields: Fields) -> Any:
        try:
            return visit(tree, fields)
        except FAILURES as exc:
            raise Unmappable(f"{label}: {_failure(exc)}") from exc

    return of


def _require_known_functions(node: Mapping[str, Any], *, may_be_reference: bool = False) -> None:
    """Raise for unknown functions, wrong numbers of arguments and a stray `&`, which jmespath leaves to evaluation."""
    if node["type"] == "expref" and not may_be_reference:
        raise exceptions.JMESPathError("an expression after & is an argument of functions such as sort_by only")
    takes: list[bool] = []
    if node["type"] == "function_expression":
        name, given = node["value"], len(node["children"])
        if name not in _FUNCTIONS:
            raise exceptions.JMESPathError(f"there is no function {name}(); there are {', '.join(sorted(_FUNCTIONS))}")
        signature = _FUNCTIONS[name]["signature"]
        is_variadic = bool(signature) and signature[-1].get("variadic", False)
        if given < len(signature) or (given > len(signature) and not is_variadic):
            least = "at least " if is_variadic else ""
            raise exceptions.JMESPathError(f"{name}() takes {least}{len(signature)} arguments, not {given}")
        takes = ["expref" in argument["types"] for argument in signature]
    for number, child in enumerate(node["children"]):
        if isinstance(child, dict):
            _require_known_functions(child, may_be_reference=number < len(takes) and takes[number])


def _reason(exc: Exception, text: str) -> str:
    """Why a text is no expression, in one line."""
    hint = ""
    if _LIKE_A_NAME.fullmatch(text):
        hint = f'; a name that holds more than letters, digits and _ is quoted: "{text}"'
    match exc:
        case RecursionError():
            return "the expression nests too deep"
        case exceptions.EmptyExpressionError():
            return "the expression is empty"
        case exceptions.IncompleteExpressionError() | exceptions.ParseError(token_type="EOF"):
            return f"the expression ends too early{hint}"
        case exceptions.LexerError():
            return f"not a JMESPath expression, at character {exc.lexer_position + 1}{hint}"
        case exceptions.ParseError():
            return f"not a JMESPath expression, {exc.token_value!r} at character {exc.lex_position + 1}{hint}"
    return str(exc)


def _failure(exc: Exception) -> str:
    """What went wrong with a value, without the value: it may be a push channel."""
    match exc:
        case exceptions.JMESPathTypeError():
            wanted = " or ".join(str(kind).replace("-", " of type ") for kind in exc.expected_types)
            return f"{exc.function_name}() takes {wanted}, not {exc.actual_type}"
        case RecursionError():
            return "the object nests too deep"
        case TypeError():
            return f"TypeError: {exc}"
    return type(exc).__name__
