"""What a run did and is doing: summary, text, live display."""

from bulkload.report.checked import CheckReport
from bulkload.report.display import Display, display
from bulkload.report.meter import Latencies, Meter, Progress
from bulkload.report.rehearsal import describe_check
from bulkload.report.summary import Latency, Rate, Records, Requests, Summary, summarize
from bulkload.report.text import describe

__all__ = [
    "CheckReport",
    "Display",
    "Latencies",
    "Latency",
    "Meter",
    "Progress",
    "Rate",
    "Records",
    "Requests",
    "Summary",
    "describe",
    "describe_check",
    "display",
    "summarize",
]
