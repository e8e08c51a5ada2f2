"""Bring device installations into Azure Notification Hubs in bulk.

In short::

    hub = bulkload.Hub.from_connection_string(text, hub="devices")
    summary = await bulkload.load("devices.ndjson", hub=hub, rate=500)
"""

from bulkload.check import check
from bulkload.client import Client, Hub, Requesting
from bulkload.errors import BulkloadError, CallFailed, Halt, InputError, LedgerLocked
from bulkload.load import Loader, Retrier, Settings, load, retry_failed
from bulkload.registration import Handle, Registration
from bulkload.report import CheckReport
from bulkload.report.meter import Progress
from bulkload.report.status import status
from bulkload.report.summary import Latency, Rate, Records, Requests, Summary
from bulkload.retry import Traits

__all__ = [
    "BulkloadError",
    "CallFailed",
    "CheckReport",
    "Client",
    "Halt",
    "Handle",
    "Hub",
    "InputError",
    "Latency",
    "LedgerLocked",
    "Loader",
    "Progress",
    "Rate",
    "Records",
    "Registration",
    "Requesting",
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
