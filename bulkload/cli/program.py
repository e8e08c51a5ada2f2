"""The program itself: its commands, and what its errors look like from outside."""

import logging
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress

import click

from bulkload.cli.check import check
from bulkload.cli.emulator import emulator
from bulkload.cli.load import load
from bulkload.cli.migrate import migrate
from bulkload.cli.presets import presets
from bulkload.cli.registration_id import registration_id
from bulkload.cli.registrations import registrations
from bulkload.cli.retry import retry
from bulkload.cli.status import status
from bulkload.errors import BUG, BulkloadError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="bulkload", message="bulkload %(version)s")
def program() -> None:
    """Bring device installations into Azure Notification Hubs in bulk.

    \b
    Try it without an account:
      bulkload load samples/installations.ndjson --emulator
    """


program.add_command(load)
program.add_command(check)
program.add_command(status)
program.add_command(retry)
program.add_command(presets)
program.add_command(registration_id)
program.add_command(registrations)
program.add_command(migrate)
program.add_command(emulator)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    _open_streams()
    exit_code = _run(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # All is said and done. An interpreter that ends would let them kill it, and change the exit code.
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)
    if threading.active_count() > 1:
        # A read that nobody waits for any more: an interpreter that ends would take away what it stands on, and a
        # library such as pyarrow then aborts the process.
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, AttributeError):
                stream.flush()
        os._exit(exit_code)
    sys.exit(exit_code)


def _run(arguments: list[str] | None) -> int:
    try:
        result = program.main(arguments, prog_name="bulkload", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
        return 2
    except click.ClickException as exc:
        return _complain(exc.format_message().replace("\n", " "), 2)
    except BulkloadError as exc:
        return _complain(str(exc), exc.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has left; what was to be done is done.
        sys.stdout = None
        return 0
    except Exception:  # noqa: BLE001 - the top: whatever gets here is a bug
        with suppress(OSError):
            traceback.print_exc()
        return _complain("this is a bug in bulkload; please report it with the lines above", BUG)
    return result if isinstance(result, int) else 0


def _open_streams() -> None:
    """A standard stream that the caller closed must not become some file that is opened later."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest one that is free: this one.
            os.open(os.devnull, os.O_RDWR)


def _complain(message: str, exit_code: int) -> int:
    # A standard error that nobody reads does not change the exit code.
    with suppress(OSError):
        click.echo(f"bulkload: {message}", err=True)
    return exit_code
