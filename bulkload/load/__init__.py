"""The main job: one run, wired together from source, upload and ledger."""

from bulkload.load.loader import Loader, load
from bulkload.load.retrying import Retrier, retry_failed
from bulkload.load.settings import Settings

__all__ = ["Loader", "Retrier", "Settings", "load", "retry_failed"]
