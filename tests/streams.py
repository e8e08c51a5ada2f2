"""Bytes that come piece by piece, as a pipe gives them."""

import io
import itertools
from collections.abc import Iterable


class Stream:
    """Bytes that come in reads of the given sizes, one after the other and over again; then perhaps a failure."""

    def __init__(self, data: bytes, sizes: Iterable[int] = (2**20,), *, failure: Exception | None = None) -> None:
        self._data = io.BytesIO(data)
        self._sizes = itertools.cycle(sizes)
        self._failure = failure

    def read(self, size: int, /) -> bytes:
        block = self._data.read(min(size, next(self._sizes)))
        if not block and self._failure is not None:
            raise self._failure
        return block
