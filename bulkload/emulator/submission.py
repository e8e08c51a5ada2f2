"""A registration that a client sends, checked as the service does."""

import re
from dataclasses import replace

from bulkload.emulator.answers import Answer
from bulkload.installation import LONGEST_TAG, TAG
from bulkload.registration import TEMPLATE, FeedError, Registration, is_never, read
from bulkload.registration.family import json_name

_TAG = re.compile(f"[{TAG}]{{1,{LONGEST_TAG}}}")


def submitted(body: bytes) -> Registration | Answer:
    """The registration of a request's body, or the answer that refuses it."""
    try:
        found = read(body)
    except FeedError as exc:
        return _refused(f"The supplied registration payload is invalid: {exc}")
    if len(found) != 1:
        return _refused(f"The supplied registration payload is invalid: it holds {len(found)} registrations, not one")
    [registration] = found
    family = registration.family
    if family is None:
        return _refused(
            f"The supplied registration payload is invalid: {registration.kind!a} is no kind of registration"
        )
    if registration.handle is None:
        return _refused(f"Value cannot be null.\r\nParameter name: {json_name(family.handles[0])}")
    if registration.kind.endswith(TEMPLATE) and not (registration.template and registration.template.body):
        return _refused("Value cannot be null.\r\nParameter name: bodyTemplate")
    for tag in registration.tags:
        if tag.startswith("$"):
            return _refused("Tags can not start with $")
        if not _TAG.fullmatch(tag):
            return _refused(
                f"An invalid tag '{tag}' was supplied. Valid tag characters are alphanumeric, _, @, -, ., : and #"
            )
    expires = registration.expiration_time
    return replace(
        registration,
        etag=None,
        expiration_time=expires if expires is not None and not is_never(expires) else None,
        template=registration.template if registration.kind.endswith(TEMPLATE) else None,
    )


def _refused(detail: str) -> Answer:
    return Answer(400, detail=detail)
