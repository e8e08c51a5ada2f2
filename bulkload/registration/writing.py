"""A registration as the service's XML: what is sent to create one, and what a hub tells of one."""

import re
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

import orjson

from bulkload.registration.family import SUFFIX
from bulkload.registration.registration import Registration

ATOM = "http://www.w3.org/2005/Atom"
SERVICE_BUS = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"

# Nearly every text, told in one look: a third of what it takes to escape it.
_is_plain = re.compile("[ !-%'-;=?-~]*").fullmatch

# XML has no way to write these.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def entry(registration: Registration) -> bytes:
    """The body of a request that creates or overwrites it."""
    content = f'<content type="application/xml">{description(registration)}</content>'
    return f'<?xml version="1.0" encoding="utf-8"?><entry xmlns="{ATOM}">{content}</entry>'.encode()


def description(registration: Registration) -> str:
    """Its description, with elements in the order in which the service tells them."""
    name = f"{registration.kind}{SUFFIX}"
    inner = "".join(elements(registration).values())
    return f'<{name} xmlns="{SERVICE_BUS}" xmlns:i="{INSTANCE}">{inner}</{name}>'


def elements(registration: Registration) -> dict[str, str]:
    """The elements of its description by their names, in that order; those that it has not are empty texts."""
    told = {
        "ETag": registration.etag,
        "ExpirationTime": registration.expiration_time,
        "RegistrationId": registration.registration_id,
        "Tags": ",".join(registration.tags) or None,
        "PushVariables": orjson.dumps(dict(registration.push_variables)).decode()
        if registration.push_variables
        else None,
    }
    told |= registration.handle.parts if registration.handle is not None else ()
    told["SecondaryTileName"] = registration.secondary_tile
    written = {name: _element(name, text) for name, text in told.items()}
    template, family = registration.template, registration.family
    if template is None or family is None:
        return written
    written["BodyTemplate"] = f"<BodyTemplate>{_cdata(template.body)}</BodyTemplate>"
    if family.headers is not None:
        written[family.headers] = _headers(family.headers, template.headers)
    written["Expiry"] = _element("Expiry", template.expiry)
    written["TemplateName"] = _element("TemplateName", template.name)
    return written


def _headers(name: str, headers: Mapping[str, str]) -> str:
    if not headers:
        return ""
    one = name.removesuffix("s")
    told = (
        f"<{one}>{_element('Header', header)}{_element('Value', value)}</{one}>" for header, value in headers.items()
    )
    return f"<{name}>{''.join(told)}</{name}>"


def _element(name: str, text: str | None) -> str:
    return "" if text is None else f"<{name}>{escaped(text)}</{name}>"


def escaped(text: str) -> str:
    """A text between tags; a carriage return would not survive an XML reader as itself."""
    if _is_plain(text):
        return text
    return escape(_writable(text), {"\r": "&#xD;"})


def attribute(text: str) -> str:
    """A text as an attribute's value, in quotes."""
    return quoteattr(_writable(text))


def _cdata(text: str) -> str:
    inner = _writable(text).replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#xD;<![CDATA[")
    return f"<![CDATA[{inner}]]>"


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
