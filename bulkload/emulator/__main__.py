"""``python -m bulkload.emulator``: an emulator that lives as long as its standard input."""

import argparse
import sys

from bulkload.emulator.program import Program, run
from bulkload.errors import InputError


def main() -> int:
    """Run until standard input ends, SIGINT or SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bulkload.emulator", description=main.__doc__, allow_abbrev=False)
    parser.add_argument("--hub", required=True, help="the hub's name")
    parser.add_argument("--port", type=int, default=0, help="where to listen on 127.0.0.1 (default: any free port)")
    parser.add_argument("--tls", action="store_true", help="speak TLS with a certificate made for this run")
    options = parser.parse_args()
    try:
        run(Program(hub=options.hub, port=options.port, tls=options.tls, until_eof=True))
    except InputError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
