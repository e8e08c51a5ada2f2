"""Bring device installations into Azure Notification Hubs in bulk.

In short::

    hub = bulkload.Hub.from_connection_string(text, hub="devices")
    summary = await bulkload.load("devices.ndjson", hub=hub, rate=500)
"""

from bulkload.check import check
from bulkload.errors import BulkloadError, Halt, InputError, LedgerLocked
from bulkload.hub import Hub
from bulkload.load import Loader, Retrier, Settings, load, retry_failed
from bulkload.report import CheckReport
from bulkload.report.meter import Progress
from bulkload.report.status import status
from bulkload.report.summary import Latency, Rate, Records, Requests, Summary
from bulkload.retry import Traits

__all__ = [
    "BulkloadError",
    "CheckReport",
    "Halt",
    "Hub",
    "InputError",
    "Latency",
    "LedgerLocked",
    "Loader",
    "Progress",
    "Rate",
    "Records",
    "Requests",
    "Retrier",
    "Settings",
    "Summary",
    "Traits",
    "check",
    "load",
    "retry_failed",
    "status",
]
