"""The hub's REST operations over aiohttp."""

from bulkload.client.choice import TransportName, transport_for
from bulkload.client.client import TOP, Client, Page
from bulkload.client.operations import Hub
from bulkload.client.settings import API_VERSION, Requesting
from bulkload.client.transport import AiohttpTransport

__all__ = [
    "API_VERSION",
    "TOP",
    "AiohttpTransport",
    "Client",
    "Hub",
    "Page",
    "Requesting",
    "TransportName",
    "transport_for",
]
