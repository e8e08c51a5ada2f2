"""What scripts rely on, written once for the tests that hold it."""

# The columns of a ledger's view `outcomes`, in order.
OUTCOME_COLUMNS = [
    "source",
    "position",
    "hub",
    "installation_id",
    "outcome",
    "status",
    "attempts",
    "latency",
    "detail",
    "tracking_id",
    "settled_at",
]
