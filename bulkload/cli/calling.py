"""What the commands share that ask a hub: their flags, how signals end them, how failures are told."""

import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from bulkload import process
from bulkload.cli.attended import attend
from bulkload.cli.options import all_of, ca_file_flag, flag, real_hub, requesting_flags, traits_of_config
from bulkload.cli.sending import hub_flags
from bulkload.cli.streams import QuietConsole, let_go, log_to, write
from bulkload.client import API_VERSION, TOP, Requesting
from bulkload.client.settings import WORKERS
from bulkload.errors import InputError
from bulkload.hub import Hub
from bulkload.migrate.asking import Stoppable
from bulkload.registration import Handle
from bulkload.report.display import Mode

R = TypeVar("R")

# How a hub is asked.
calling_flags = all_of(
    hub_flags,
    requesting_flags("request", workers=WORKERS),
    flag("--api-version", default=API_VERSION, help="The service's api-version."),
    ca_file_flag,
)

quiet_flag = flag("--quiet", is_flag=True, help="Be silent when all goes well.")

top_flag = flag("--top", type=click.IntRange(1, 1000), default=TOP, help="Registrations in one answer.")

_FAMILIES: dict[str, Callable[[str], Handle]] = {
    "channel_uri": Handle.channel_uri,
    "device_token": Handle.device_token,
    "gcm_registration_id": Handle.gcm_registration_id,
    "fcmv1_registration_id": lambda text: Handle((("FcmV1RegistrationId", text),)),
    "adm_registration_id": lambda text: Handle((("AdmRegistrationId", text),)),
}

handle_flags = all_of(
    flag("--channel-uri", metavar="HANDLE", multiple=True, envvar=None, help="A device of WNS or MPNS, or of any."),
    flag("--device-token", metavar="HANDLE", multiple=True, envvar=None, help="A device of Apple's, in hex."),
    flag("--gcm-registration-id", metavar="HANDLE", multiple=True, envvar=None, help="A device of GCM."),
    flag("--fcmv1-registration-id", metavar="HANDLE", multiple=True, envvar=None, help="A device of FCM v1."),
    flag("--adm-registration-id", metavar="HANDLE", multiple=True, envvar=None, help="A device of ADM."),
)


def take_handles(flags: dict[str, Any]) -> list[Handle]:
    """Take these flags out of a command's; raises `InputError`."""
    found = []
    for name, make in _FAMILIES.items():
        for number, text in enumerate(flags.pop(name), 1):
            place = f"--{name.replace('_', '-')} number {number}"
            if not text or not text.isprintable():
                raise InputError(f"{place} is empty or holds control characters")
            try:
                found.append(make(text))
            except InputError as exc:
                raise InputError(f"{place}: {exc}") from exc
    return found


async def _nothing() -> None:
    """Leave all as it is."""


class Calling:
    """One call of such a command: takes the shared flags out of its own, and attends its job."""

    def __init__(self, flags: dict[str, Any], *, needs_hub: bool = True) -> None:
        self.console = QuietConsole(stderr=True)
        self.is_quiet: bool = flags.pop("quiet")
        self._mode: Mode = "none" if self.is_quiet else flags.pop("progress", "none")
        self._log = log_to(self.console, is_quiet=self.is_quiet)
        file: Path | None = flags.pop("connection_string_file")
        name: str | None = flags.pop("hub")
        self._hub = real_hub(name, file) if needs_hub else None
        given = {field.name: flags.pop(field.name) for field in fields(Requesting) if field.name in flags}
        self.requesting = Requesting(**given, traits=traits_of_config())

    @property
    def hub(self) -> Hub:
        """Where the hub is; raises `InputError` where nothing says so."""
        assert self._hub is not None
        return self._hub

    def attended(
        self,
        job: Stoppable[R],
        *,
        stop: Callable[[signal.Signals], int] = lambda received: 128 + received,
        finish: Callable[[], Awaitable[None]] = _nothing,
    ) -> R:
        """What a job comes to; the first signal stops it with the exit code that `stop` says; `finish` ends it all."""

        async def carry_out() -> R:
            def end(received: signal.Signals) -> None:
                job.stop(stop(received), f"{received.name} was received")

            try:
                return await attend(job, self.console, self._mode, stop=end)
            finally:
                await finish()

        try:
            return process.run(carry_out())
        except BrokenPipeError:
            # Whoever read our output has seen enough.
            raise click.exceptions.Exit(0) from None

    def tell(self, line: str, exit_code: int, *, is_told: bool = False) -> int:
        """Write a last line, unless all went well and nobody wants to know; returns the exit code.

        Where `is_told`, the same was said in another form.
        """
        let_go(self._log, is_worth_a_word=bool(exit_code) or not self.is_quiet)
        if not is_told and (exit_code or not self.is_quiet):
            write(line, sys.stderr, advice="the output is whole")
        return exit_code
