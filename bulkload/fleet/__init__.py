"""Several uploaders as one: processes on this machine, by a protocol that others may speak from other machines."""

from bulkload.fleet.fleet import Books, Fleet
from bulkload.fleet.leasing import LATENESS
from bulkload.fleet.messages import Claim, Settled, Work
from bulkload.fleet.parcel import Parcel, Terms

__all__ = ["LATENESS", "Books", "Claim", "Fleet", "Parcel", "Settled", "Terms", "Work"]
