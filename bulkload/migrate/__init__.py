"""From registrations to installations: reading them from a hub, folding them, and deleting the old ones."""

from bulkload.migrate.deletion import Deletion, DeletionPlan
from bulkload.migrate.handles import Handles
from bulkload.migrate.ids import RegistrationIds
from bulkload.migrate.listing import Listing
from bulkload.migrate.loaded import Loaded
from bulkload.migrate.migration import Folding, Migration
from bulkload.migrate.output import FileOutput, StreamOutput
from bulkload.migrate.summary import DeletionSummary, MigrationSummary, Summary

__all__ = [
    "Deletion",
    "DeletionPlan",
    "DeletionSummary",
    "FileOutput",
    "Folding",
    "Handles",
    "Listing",
    "Loaded",
    "Migration",
    "MigrationSummary",
    "RegistrationIds",
    "StreamOutput",
    "Summary",
]
