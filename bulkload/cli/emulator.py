"""``bulkload emulator``: a hub on this machine, for trying and testing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bulkload.cli.options import flag
from bulkload.emulator.behaviour import Behaviour, faults, latency, outages
from bulkload.emulator.dialect import DIALECT, DIALECTS
from bulkload.emulator.limits import Limit, fixed_window, schedule, token_bucket
from bulkload.emulator.program import Program, run
from bulkload.errors import InputError

_THROTTLES: dict[str, Callable[[str], Limit]] = {
    "throttle": token_bucket,
    "throttle_window": fixed_window,
    "throttle_schedule": schedule,
}


@click.command(short_help="Run a hub on this machine.")
@flag("--port", type=click.IntRange(0, 65535), default=0, help="The port on loopback; 0 takes a free one.")
@flag("--hub", envvar=None, default="devices", help="The hub's name.")
@click.option("--tls", is_flag=True, help="Serve TLS with a certificate authority made at start.")
@flag(
    "--dialect",
    type=click.Choice(list(DIALECTS)),
    default=DIALECT,
    help="Answer in the words of the service's front end of 2018 to 2022, or of 2023.",
)
@flag("--save", type=click.Path(path_type=Path), metavar="FILE", help="Keep what it holds in this file.")
@flag("--throttle", metavar="RATE[:BURST]", help="Take so many requests a second, and so many at once (or 5%).")
@flag("--throttle-window", metavar="N/60s", help="Take so many requests in each window from the first request on.")
@flag("--throttle-schedule", metavar="S:RATE,...", help="Take so many a second from these seconds on.")
@flag("--throttle-status", type=click.Choice(["403", "429"]), default="403", help="What the others get.")
@flag("--throttle-bare", is_flag=True, help="Give no words with it.")
@flag("--retry-after", type=int, metavar="SECONDS", help="Give this time with it.")
@flag("--quota", type=int, metavar="N", help="Hold so many installations and registrations.")
@flag("--latency", metavar="MEAN[:SPREAD]", help="Answer after so many seconds.")
@flag("--visibility-delay", type=float, metavar="SECONDS", help="Show what was accepted after this time only.")
@flag("--fault", metavar="NAME=SHARE,...", help="Let reset, error, truncate, stall happen so often.")
@flag("--outage", metavar="S:SECONDS,...", help="Be gone from second S on for so long.")
def emulator(port: int, hub: str, *, tls: bool, dialect: str, save: Path | None, **flags: Any) -> int:
    """Run an emulated hub until it is interrupted, and print its connection string.

    The first line on standard output is the connection string; with --tls the second is the file of the certificate
    authority to trust (--ca-file). A browser shows at the hub's address what it holds and what came; GET
    /$emulator/statistics tells that as JSON, in all and by the second. All times begin with the first request. The file
    of --save is read at the start and written while it runs: a kill loses the last half second at most.

    \b
    Examples:
      bulkload emulator --port 8080
      bulkload emulator --tls
      bulkload emulator --dialect 2023 --save hub.emulator
      bulkload emulator --throttle 500:5% --latency 0.04:0.02
      bulkload emulator --throttle-window 3000/60s --throttle-status 429 --retry-after 20
    """
    run(
        Program(
            hub=hub,
            port=port,
            tls=tls,
            until_eof=False,
            dialect=dialect,
            save=save,
            behaviour=_behaviour(flags),
        )
    )
    return 0


def _behaviour(flags: dict[str, Any]) -> Behaviour:
    given = {name: text for name in _THROTTLES if (text := flags.pop(name)) is not None}
    if len(given) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{names} are two limits; a hub has one")
    limits = [_THROTTLES[name](text) for name, text in given.items()]
    mean, spread = latency(flags["latency"]) if flags["latency"] is not None else (0.0, 0.0)
    return Behaviour(
        throttle=limits[0] if limits else None,
        throttle_status=int(flags["throttle_status"]),
        throttle_is_bare=flags["throttle_bare"],
        retry_after=flags["retry_after"],
        quota=flags["quota"],
        latency=mean,
        spread=spread,
        visibility_delay=flags["visibility_delay"] or 0.0,
        outages=outages(flags["outage"]) if flags["outage"] is not None else (),
        faults=faults(flags["fault"]) if flags["fault"] is not None else {},
    )
