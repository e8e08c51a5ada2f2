"""A registration as the service's XML: what is sent to create one, and what a hub tells of one."""

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

import orjson

from bulkload.registration.family import SUFFIX
from bulkload.registration.registration import Registration

ATOM = "http://www.w3.org/2005/Atom"
SERVICE_BUS = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"

# XML has no way to write these.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def entry(registration: Registration) -> bytes:
    """The body of a request that creates or overwrites it."""
    content = f'<content type="application/xml">{description(registration)}</content>'
    return f'<?xml version="1.0" encoding="utf-8"?><entry xmlns="{ATOM}">{content}</entry>'.encode()


def description(registration: Registration) -> str:
    """Its description, with elements in the order in which the service tells them."""
    name = f"{registration.kind}{SUFFIX}"
    return f'<{name} xmlns="{SERVICE_BUS}" xmlns:i="{INSTANCE}">{"".join(_elements(registration))}</{name}>'


def _elements(registration: Registration) -> Iterator[str]:
    yield _element("ETag", registration.etag)
    yield _element("ExpirationTime", registration.expiration_time)
    yield _element("RegistrationId", registration.registration_id)
    yield _element("Tags", ",".join(registration.tags) or None)
    if registration.push_variables:
        yield _element("PushVariables", orjson.dumps(dict(registration.push_variables)).decode())
    for name, value in registration.handle.parts if registration.handle is not None else ():
        yield _element(name, value)
    yield _element("SecondaryTileName", registration.secondary_tile)
    template, family = registration.template, registration.family
    if template is None or family is None:
        return
    yield f"<BodyTemplate>{_cdata(template.body)}</BodyTemplate>"
    if family.headers is not None and template.headers:
        one = family.headers.removesuffix("s")
        headers = (
            f"<{one}>{_element('Header', name)}{_element('Value', value)}</{one}>"
            for name, value in template.headers.items()
        )
        yield f"<{family.headers}>{''.join(headers)}</{family.headers}>"
    yield _element("Expiry", template.expiry)
    yield _element("TemplateName", template.name)


def _element(name: str, text: str | None) -> str:
    return "" if text is None else f"<{name}>{escaped(text)}</{name}>"


def escaped(text: str) -> str:
    """A text between tags; a carriage return would not survive an XML reader as itself."""
    return escape(_writable(text), {"\r": "&#xD;"})


def attribute(text: str) -> str:
    """A text as an attribute's value, in quotes."""
    return quoteattr(_writable(text))


def _cdata(text: str) -> str:
    inner = _writable(text).replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#xD;<![CDATA[")
    return f"<![CDATA[{inner}]]>"


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
