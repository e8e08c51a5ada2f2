"""The hub's REST operations over aiohttp."""

from bulkload.client.client import TOP, Client, Page
from bulkload.client.connections import ANSWER_TIMEOUT, CONNECT_TIMEOUT, KEPT_OF_BODY
from bulkload.client.operations import Hub
from bulkload.client.settings import API_VERSION, Requesting
from bulkload.client.transport import AiohttpTransport

__all__ = [
    "ANSWER_TIMEOUT",
    "API_VERSION",
    "CONNECT_TIMEOUT",
    "KEPT_OF_BODY",
    "TOP",
    "AiohttpTransport",
    "Client",
    "Hub",
    "Page",
    "Requesting",
]
