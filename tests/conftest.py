"""How the tests run."""

import os


def pytest_xdist_auto_num_workers() -> int:
    """More than there are processors, since tests wait more than they compute."""
    return min(8, 2 * (os.cpu_count() or 1))
