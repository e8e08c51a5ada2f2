"""A hub that has its moods, and a source that has its flaws: what ends well between them ends well."""

import random
import re
import zlib
from pathlib import Path

from tests.processes import OK, Put, Reply, installation, refusal


class Moods:
    """Answers of a hub that fails, throttles and breaks off now and then, each PUT once at the most."""

    def __init__(self) -> None:
        self._refused: set[bytes] = set()

    def __call__(self, put: Put) -> Reply:
        mood = zlib.crc32(put.body) % 100
        if mood > 3 or put.body in self._refused:
            return OK
        self._refused.add(put.body)
        if mood == 3:
            return Reply(None)
        return refusal(429, "slow down", "Retry-After: 0") if mood == 2 else refusal(503, "not now")


def shuffled(dice: random.Random, *, number: int = 2500, ids: int = 1800) -> list[bytes]:
    """A few thousand lines, of which some repeat an id and some are broken; each body is another."""
    lines = [b"{", b"[1]", b'{"installationId":"no platform"}', b""] * 15
    lines += [installation(f"id-{dice.randrange(ids)}", tags=[f"n{ordinal}"]) for ordinal in range(number)]
    dice.shuffle(lines)
    return lines


def last_valid(source: Path) -> dict[str, bytes]:
    """The body that decides for each id."""
    lines = [line for line in source.read_bytes().split(b"\n") if b'"platform":' in line]
    found = {}
    for line in lines:
        [id_] = re.findall(rb'"installationId":"([^"]+)"', line)
        found[id_.decode()] = line
    return found
