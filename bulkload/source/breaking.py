"""What a source that breaks off raises while it is read, and the one line that tells of it."""

import contextlib
import lzma
import sys
import zlib
from collections.abc import Iterator

from bulkload.errors import Halt

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# The disk's and the network's errors, a form's end before its time, and those of the decompressors.
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError)

# A file that was mended is another one by its fingerprint, so the same command would refuse it.
ANOTHER_VERSION = " (with --when-changed restart, if the file has to be replaced for it)"


@contextlib.contextmanager
def breaking_off(name: str, advice: str = "") -> Iterator[None]:
    """Raise `Halt` for what breaks off within."""
    try:
        yield
    except BROKEN as exc:
        words = (exc.strerror if isinstance(exc, OSError) else None) or " ".join(str(exc).split()) or type(exc).__name__
        raise Halt(
            f"source {name} breaks off: {words}; what came before it is kept, load it again once it is whole{advice}"
        ) from exc
