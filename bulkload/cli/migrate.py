"""``bulkload migrate``: from registrations to installations."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bulkload.cli.attended import attended_flags
from bulkload.cli.calling import Calling, calling_flags, handle_flags, take_handles, top_flag
from bulkload.cli.options import Duration, config_flag, flag, is_default, is_typed, of_config
from bulkload.cli.reading import map_value_flag, take_map_value
from bulkload.cli.sending import command_line
from bulkload.cli.streams import Lines, write
from bulkload.errors import InputError
from bulkload.migrate import (
    Deletion,
    DeletionPlan,
    FileOutput,
    Folding,
    Handles,
    Loaded,
    Migration,
    StreamOutput,
    Summary,
)
from bulkload.source import FileSource, Layout
from bulkload.source.standard_input import STANDARD_INPUT

LEDGER = ".migrate"

_FOLDING = ("map_value", "id_from", "convert_gcm_templates")


@click.command(short_help="Make installations of registrations; delete the old ones.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@handle_flags
@click.option("--all", "is_all", is_flag=True, help="All registrations of the hub.")
@flag("--export-file", envvar=None, metavar="FILE", help="Those in the blob of the service's own export job.")
@click.option("-o", "output", type=click.Path(path_type=Path), metavar="FILE", help="Where the installations go.")
@map_value_flag
@flag("--id-from", metavar="EXPR", help="Make the id from this, over the installation; push-channel is one, too.")
@flag("--convert-gcm-templates", is_flag=True, help="Rewrite template bodies from GCM's form to FCM v1's.")
@flag("--delete-old", envvar=None, type=click.Path(path_type=Path), metavar="FILE", help="Delete what FILE replaces.")
@flag("--loaded", envvar=None, type=click.Path(path_type=Path), metavar="LEDGER", help="The ledger of FILE's load.")
@click.option("--plan", "is_plan", is_flag=True, help="Write what --delete-old would delete, and delete nothing.")
@flag("--visible-within", type=Duration(), default="10m", help="Time for an installation to show.")
@flag(
    "--ledger", envvar=None, type=click.Path(path_type=Path), help="Where the state is kept.  [default: FILE.migrate]"
)
@flag("--wait-lock", type=Duration(), default="0s", help="Wait this long for a ledger that another run holds.")
@top_flag
@calling_flags
@attended_flags("summary")
@config_flag
def migrate(files: tuple[str, ...], **flags: Any) -> int:
    """Make installations of registrations, as NDJSON for `bulkload load`; then delete the registrations.

    The registrations are those of the devices that are named (as for `bulkload registrations`), or --all of the hub, or
    those in an --export-file. All of one channel become one installation; where they contradict each other, a part of
    an installation decides, then what expires last, then what has the greater id, and each such channel is counted.
    What has no installation id gets the first 32 hex digits of the sha256 of its channel. Registrations of secondary
    tiles and of unknown kinds are kept in FILE.left-out.ndjson beside -o FILE.

    With --delete-old FILE --loaded LEDGER, the old registrations of each channel in FILE are deleted, once the ledger
    shows its installation accepted and the hub shows it among the channel's registrations. The same command again
    continues, and looks at all channels anew once all is done.

    \b
    Examples:
      bulkload migrate --all -o devices.ndjson --map-value platform:gcm=fcmv1 --convert-gcm-templates
      bulkload load devices.ndjson --api-version 2020-06
      bulkload migrate --delete-old devices.ndjson --loaded devices.ndjson.ledger --plan
      bulkload migrate --delete-old devices.ndjson --loaded devices.ndjson.ledger

    \b
    Exit codes: 0 all done; 1 done, but some channels could not be read, or keep their old registrations; 2 wrong usage
    or input; 4 stopped by the hub or this machine; 5 interrupted, resumable; 6 a bug; 75 another run holds the ledger.
    """
    if flags["delete_old"] is not None:
        return _delete_old(files, flags)
    for name in ("loaded", "is_plan"):
        if flags.pop(name):
            raise InputError(f"--{name.removeprefix('is_')} belongs to --delete-old FILE")
    if is_typed("visible_within"):
        raise InputError("--visible-within belongs to --delete-old FILE")
    flags.pop("delete_old")
    flags.pop("visible_within")
    return _make_installations(files, flags)


def _make_installations(files: tuple[str, ...], flags: dict[str, Any]) -> int:
    given = take_handles(flags)
    is_all, export = flags.pop("is_all"), flags.pop("export_file")
    if sum((bool(given or files), is_all, export is not None)) != 1:
        raise InputError(
            "say which registrations: name devices by a flag such as --device-token or in a FILE, or give --all, or an "
            "--export-file"
        )
    path: Path | None = flags.pop("output")
    ledger = _ledger(flags, path)
    if export is not None and path is not None and path.exists() and Path(export).exists() and path.samefile(export):
        raise InputError(f"-o {path} is the export itself; name another file")
    is_json: bool = flags.pop("json")
    if is_json and path is None:
        raise InputError("--json and the installations both go to standard output; name a file for them with -o")
    folding = Folding(
        map_value=take_map_value(flags.pop("map_value")),
        id_from=flags.pop("id_from"),
        convert_gcm_templates=flags.pop("convert_gcm_templates"),
    )
    top: int = flags.pop("top")
    calling = Calling(flags, needs_hub=export is None)
    lines = Lines()
    migration = Migration(
        FileOutput(path) if path is not None else StreamOutput(lines.write, lines.flush),
        hub=calling.hub if export is None else None,
        requesting=calling.requesting,
        handles=Handles(given, files) if given or files else None,
        export=FileSource(export, Layout(format="ndjson")) if export is not None else None,
        folding=folding,
        ledger=ledger,
        wait_lock=flags.pop("wait_lock"),
        top=top,
        # Handles are personal data, and the line is kept in logs and mails.
        resume=command_line() if STANDARD_INPUT not in files and not given else None,
    )
    return _told(calling, calling.attended(migration, stop=lambda _: 5), is_json=is_json)


def _delete_old(files: tuple[str, ...], flags: dict[str, Any]) -> int:
    devices: Path = flags.pop("delete_old")
    loaded: Path | None = flags.pop("loaded")
    others = [files, take_handles(flags), *(flags.pop(name) for name in ("is_all", "export_file", "output"))]
    # A config file serves a load and the making of installations as well: there they mean nothing to this.
    others += [is_typed(name) for name in _FOLDING if flags.pop(name)]
    if any(others):
        raise InputError("--delete-old goes with --loaded, --plan and --visible-within only")
    if loaded is None:
        raise InputError(f"--delete-old needs the ledger of the load: --loaded {devices}.ledger")
    is_plan, is_json = flags.pop("is_plan"), flags.pop("json")
    if is_plan and is_json:
        raise InputError("--json and --plan both write to standard output; take one away")
    visible_within: float = flags.pop("visible_within")
    wait_lock: float = flags.pop("wait_lock")
    top: int = flags.pop("top")
    ledger = _ledger(flags, devices)
    calling = Calling(flags)
    found = Loaded(devices, loaded, hub=calling.hub)
    requesting = calling.requesting
    if is_default("api_version"):
        requesting = replace(requesting, api_version=found.api_version)
    lines = Lines()
    job = (
        DeletionPlan(found, calling.hub, requesting, top=top, take=lines.write)
        if is_plan
        else Deletion(
            found,
            calling.hub,
            requesting,
            visible_within=visible_within,
            top=top,
            ledger=ledger,
            wait_lock=wait_lock,
            resume=command_line(),
        )
    )
    return _told(calling, calling.attended(job, stop=lambda _: 5, finish=lines.flush), is_json=is_json)


def _ledger(flags: dict[str, Any], file: Path | None) -> Path | None:
    """Migrate's own ledger; one that a config file names is a load's."""
    given: Path | None = flags.pop("ledger")
    if given is not None and not of_config("ledger"):
        return given
    return Path(f"{file}{LEDGER}") if file is not None else None


def _told(calling: Calling, summary: Summary, *, is_json: bool) -> int:
    if is_json:
        write(summary.to_json(), sys.stdout, advice="the output is whole")
    return calling.tell(str(summary), summary.exit_code, is_told=is_json)
