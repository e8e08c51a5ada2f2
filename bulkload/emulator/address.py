"""A request's target taken apart."""

import re
from functools import cached_property
from urllib.parse import unquote, unquote_plus

_API_VERSION = re.compile(r"(?:^|&)api-version=[^&]", re.IGNORECASE)


class Address:
    """A target of the form ``/hub/installations/id?query``; `segments` are what follows the hub's name, decoded."""

    # No tuple and no dataclass: of most requests nothing more is asked than this.
    def __init__(self, target: str) -> None:
        self.path, _, self.query = target.partition("?")
        segments = self.path.split("/")
        if "%" in self.path:
            segments = [unquote(segment) for segment in segments]
        self.hub = segments[1] if len(segments) > 1 else ""
        self.segments = segments[2:]

    def __repr__(self) -> str:
        return f"<Address {self.path}>"

    @property
    def has_api_version(self) -> bool:
        """Whether the query names an api-version; any one will do."""
        return _API_VERSION.search(self.query) is not None

    @cached_property
    def parameters(self) -> dict[str, str]:
        """What the query says, decoded once; names are in lower case, of two the last one counts."""
        pairs = (part.partition("=") for part in self.query.split("&") if part)
        return {unquote_plus(name).lower(): unquote_plus(value) for name, _, value in pairs}
