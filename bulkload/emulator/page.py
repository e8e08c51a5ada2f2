"""The page that a person sees at the emulator's root: what it holds, how it is set, and what came."""

import hashlib
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import NamedTuple

import orjson
from aiohttp import web

from bulkload.emulator.behaviour import Behaviour
from bulkload.emulator.statistics import Requests

# Nothing but the page's own style and script, told by their digests, and addresses of its own origin. A page's icon is
# data, and empty.
_POLICY = (
    "default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_LABELS = {
    "seen": "Came",
    "accepted": "PUTs accepted",
    "created": "POSTs accepted",
    "patched": "PATCHes accepted",
    "read": "GETs answered",
    "deleted": "DELETEs accepted",
    "refused": "Refused, throttled ones too",
    "throttled": "Throttled",
    "faults": "Went wrong on purpose",
    "turned_away": "Connections turned away in an outage",
}

_NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the page shows; `installations` are counted by their platforms, `registrations` by their kinds."""

    hub: str
    connection_string: str
    dialect: str
    ca_file: Path | None
    save: Path | None
    behaviour: Behaviour
    installations: Mapping[str, int]
    registrations: Mapping[str, int]
    requests: Requests
    statistics: str


class _Setting(NamedTuple):
    name: str
    flag: str
    value: str


def platforms(bodies: Iterable[bytes]) -> Counter[str]:
    """How many installations there are of each platform."""
    return Counter(str(orjson.loads(body)["platform"]).lower() for body in bodies)


def response(view: View) -> web.Response:
    """The page as an answer, which no other page may frame or read, and which is not kept."""
    headers = {
        "Content-Security-Policy": _policy(),
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return web.Response(text=render(view), content_type="text/html", charset="utf-8", headers=headers)


def render(view: View) -> str:
    """The page as HTML; it can be read without its script."""
    return _template().substitute(
        hub=escape(view.hub),
        connection_string=escape(view.connection_string),
        ca_file=_ca_file(view.ca_file),
        installations=_held(view.installations),
        registrations=_held(view.registrations),
        requests="".join(_requests(view.requests)),
        settings="".join(map(_row, _settings(view))),
        statistics=escape(view.statistics),
    )


@cache
def _template() -> Template:
    return Template(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))


@cache
def _policy() -> str:
    """The policy, with the digest of all that stands between the style's tags, and the script's."""
    digests = {}
    for name in ("style", "script"):
        match = re.search(f"<{name}>(.*?)</{name}>", _template().template, re.DOTALL)
        assert match is not None
        digests[name] = f"'sha256-{b64encode(hashlib.sha256(match[1].encode()).digest()).decode()}'"
    return _POLICY.format(**digests)


def _ca_file(path: Path | None) -> str:
    if path is None:
        return ""
    return f'<p>Its certificate authority, to be trusted: <code class="string">{escape(str(path))}</code></p>'


def _held(numbers: Mapping[str, int]) -> str:
    total = f'<p class="total">{sum(numbers.values()):,}</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{number:,}</td></tr>'
        for name, number in sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    )
    return f"{total}<table><tbody>{rows}</tbody></table>" if rows else total


def _requests(requests: Requests) -> Iterator[str]:
    for name, label in _LABELS.items():
        number = f'<td class="number all">{getattr(requests, name):,}</td><td class="number rate live" hidden></td>'
        yield f'<tr data-count="{name}"><th scope="row">{label}</th>{number}</tr>'


def _settings(view: View) -> Iterator[_Setting]:
    """What it is set to, with the flags that set it."""
    behaviour = view.behaviour
    yield _Setting("Dialect", "--dialect", view.dialect)
    yield _Setting("TLS", "--tls", "on" if view.ca_file is not None else "off")
    yield _Setting("Kept in", "--save", str(view.save) if view.save is not None else "memory only")
    yield _Setting("Throttle", "--throttle", str(behaviour.throttle) if behaviour.throttle is not None else _NONE)
    yield _Setting("Answer when throttled", "--throttle-status", _throttled(behaviour))
    yield _Setting("Quota", "--quota", f"{behaviour.quota:,} in all" if behaviour.quota is not None else _NONE)
    yield _Setting("Latency", "--latency", _latency(behaviour))
    delay = behaviour.visibility_delay
    yield _Setting("Visible after", "--visibility-delay", _seconds(delay) if delay else "at once")
    faults = ", ".join(f"{name} {share * 100:g}\N{NO-BREAK SPACE}%" for name, share in behaviour.faults.items())
    yield _Setting("Faults", "--fault", faults or _NONE)
    outages = ", ".join(f"from second {begin:g} on for {_seconds(seconds)}" for begin, seconds in behaviour.outages)
    yield _Setting("Outages", "--outage", outages or _NONE)


def _throttled(behaviour: Behaviour) -> str:
    words = "without words" if behaviour.throttle_is_bare else "with words"
    after = "" if behaviour.retry_after is None else f", Retry-After {_seconds(behaviour.retry_after)}"
    return f"{behaviour.throttle_status} {words}{after}"


def _latency(behaviour: Behaviour) -> str:
    if not behaviour.latency and not behaviour.spread:
        return _NONE
    spread = f", give or take {_seconds(behaviour.spread)}" if behaviour.spread else ""
    return f"{_seconds(behaviour.latency)}{spread}"


def _seconds(number: float) -> str:
    return f"{number:g}\N{NO-BREAK SPACE}s"


def _row(setting: _Setting) -> str:
    name, flag, value = map(escape, setting)
    return f'<tr><th scope="row">{name} <code class="quiet">{flag}</code></th><td>{value}</td></tr>'
