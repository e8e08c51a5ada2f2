"""Synthetic installations: about 320 bytes each, the same ones at every call."""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import orjson

TAGS = ["news", "sports", "weather", "lang:en", "lang:de", "lang:fr", "country:US", "country:DE", "tier:free"]
BODY = '{"aps":{"alert":"$(message)"}}'

# With it a record has about 430 bytes.
LONG_BODY = (
    '{"aps":{"alert":{"title":"$(title)","body":"$(message)"},"sound":"default","badge":1,"category":"news"},'
    '"link":"$(link)"}'
)


def installation_id(number: int) -> str:
    """The id of the record at a position: a UUID, different for each."""
    return str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128), version=4))


def lines(count: int, *, body: str = BODY) -> Iterator[bytes]:
    """Lines of NDJSON, with this template body."""
    source = random.Random(7)
    for number in range(count):
        installation = {
            "installationId": installation_id(number),
            "userId": f"user-{source.randrange(10**6):06d}",
            "platform": "apns",
            "pushChannel": f"{source.getrandbits(256):064X}",
            "tags": source.sample(TAGS, 3),
            "templates": {"welcome": {"body": body, "tags": ["welcome", "lang:en"]}},
        }
        yield orjson.dumps(installation) + b"\n"


def write(path: Path, count: int, *, body: str = BODY) -> Path:
    """Write a source of `count` records."""
    with path.open("wb") as file:
        file.writelines(lines(count, body=body))
    return path


def kept(folder: Path, count: int) -> Path:
    """A source of `count` records as long as those of a measurement beside peers, written when it is first wanted."""
    path = folder / f"{count}.ndjson"
    return path if path.exists() else write(path, count, body=LONG_BODY)
