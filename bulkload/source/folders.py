"""Which files a folder or a pattern means."""

import re

# What a run leaves beside its source: a pattern that takes it in would name other sources in the next session.
_OWN = re.compile(r"\.ledger(-wal|-shm|-journal|\.dead\..*|\.\d{8}T\d{6}Z.*)?$")

# Dead letters are sources once they were mended, for one whose pattern says so.
_DEAD = ".dead."

# Hidden files, and what programs that write folders of data put beside it: _SUCCESS, _metadata.
_HIDDEN = (".", "_")


def is_meant_by_pattern(path: str, pattern: str) -> bool:
    """Whether a pattern that matches a path means it."""
    return not _OWN.search(path) or (_DEAD in pattern and _DEAD in path)


def is_meant_by_folder(path: str) -> bool:
    """Whether a folder means a file; `path` is that within it, with slashes."""
    return not _OWN.search(path) and not any(part.startswith(_HIDDEN) for part in path.split("/"))
