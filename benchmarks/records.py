"""Synthetic installations: about 370 bytes each, the same ones at every call."""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import orjson

TAGS = ["news", "sports", "weather", "lang:en", "lang:de", "lang:fr", "country:US", "country:DE", "tier:free"]
BODY = '{"aps":{"alert":"$(message)"}}'


def installation_id(number: int) -> str:
    """The id of the record at a position: a UUID, different for each."""
    return str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128), version=4))


def lines(count: int) -> Iterator[bytes]:
    """Lines of NDJSON."""
    source = random.Random(7)
    for number in range(count):
        installation = {
            "installationId": installation_id(number),
            "userId": f"user-{source.randrange(10**6):06d}",
            "platform": "apns",
            "pushChannel": f"{source.getrandbits(256):064X}",
            "tags": source.sample(TAGS, 3),
            "templates": {"welcome": {"body": BODY, "tags": ["welcome", "lang:en"]}},
        }
        yield orjson.dumps(installation) + b"\n"


def write(path: Path, count: int) -> Path:
    """Write a source of `count` records."""
    with path.open("wb") as file:
        file.writelines(lines(count))
    return path
