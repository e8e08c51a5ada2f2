"""``bulkload emulator``: a hub on this machine, for trying and testing."""

import click

from bulkload.cli.options import flag
from bulkload.emulator.program import run


@click.command(short_help="Run a hub on this machine.")
@flag("--port", type=click.IntRange(0, 65535), default=0, help="The port on loopback; 0 takes a free one.")
@flag("--hub", envvar=None, default="devices", help="The hub's name.")
@click.option("--tls", is_flag=True, help="Serve TLS with a certificate authority made at start.")
def emulator(port: int, hub: str, *, tls: bool) -> int:
    """Run an emulated hub until it is interrupted, and print its connection string.

    The first line on standard output is the connection string; with --tls the second is the file of the certificate
    authority to trust (--ca-file).

    \b
    Examples:
      bulkload emulator --port 8080
      bulkload emulator --tls
    """
    run(hub=hub, port=port, tls=tls, until_eof=False)
    return 0
