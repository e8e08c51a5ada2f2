"""The README tells the truth: its commands run, its flags, codes and names are all there are."""

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest

from bulkload.cli.check import check
from bulkload.cli.emulator import emulator
from bulkload.cli.load import load
from bulkload.cli.migrate import migrate
from bulkload.cli.options import Duration
from bulkload.cli.program import program
from bulkload.cli.registration_id import registration_id
from bulkload.cli.registrations import registrations
from bulkload.cli.retry import retry
from bulkload.cli.status import status
from bulkload.retry import Traits

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def options(command: click.Command) -> set[str]:
    return {name for option in command.params if isinstance(option, click.Option) for name in option.opts}


COMMANDS = (load, check, retry, emulator, registration_id, registrations, migrate, status)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_flag_is_in_the_readme(command: click.Command) -> None:
    missing = {name for name in options(command) if not re.search(rf"{name}\b", README)}
    assert missing - {"--help", "-h"} == set()


def test_every_flag_in_the_readme_exists() -> None:
    known = {name for command in (*COMMANDS, program) for name in options(command)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README)) <= known


def test_every_command_is_in_the_readme() -> None:
    assert all(f"bulkload {name}" in README for name in program.commands)


def test_every_default_in_the_readme_is_the_real_one() -> None:
    cells = [re.split(r"(?<!\\)\|", line) for line in README.splitlines() if line.startswith("| `--")]
    told = {row[1].split()[0].strip("`"): row[3].strip(" `").replace("\\", "") for row in cells if len(row) > 4}
    real = {
        option.opts[0]: str(option.default)
        for option in load.params
        if isinstance(option, click.Option) and isinstance(option.default, str | int | float) and not option.is_flag
    }
    assert real
    assert {name: told[name] for name in real} == real


def test_every_key_of_the_hub_s_table_is_in_the_readme_with_its_default() -> None:
    section = re.search(r"^### What the hub answers$(.*?)^##", README, re.MULTILINE | re.DOTALL)
    assert section is not None
    rows = re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| ([^|]*) \|$", section[1], re.MULTILINE)
    told = {key: re.findall(r"`([^`]+)`", default) for key, default in rows}
    defaults = {field.name.replace("_", "-"): getattr(Traits(), field.name) for field in fields(Traits)}
    assert told.keys() == defaults.keys()
    for key, default in defaults.items():
        if isinstance(default, tuple):
            assert told[key] == list(default)
        else:
            [text] = told[key]
            assert (Duration().convert(text, None, None) if isinstance(default, float) else int(text)) == default


def test_the_example_of_the_hub_s_table_is_one() -> None:
    [example] = re.findall(r"```toml\n(\[hub\]\n.*?)```", README, re.DOTALL)
    known = {field.name.replace("_", "-") for field in fields(Traits)} | {"name"}
    assert tomllib.loads(example)["hub"].keys() <= known


def test_every_exit_code_of_the_help_is_in_the_readme() -> None:
    assert load.help is not None
    codes = re.findall(r"(\d+) \w", load.help.split("Exit codes:")[1])
    assert codes
    for code in codes:
        assert re.search(rf"^\| .*\b{code}\b.* \|", README, re.MULTILINE), code


def test_the_main_line_of_the_readme_runs(tmp_path: Path) -> None:
    line = re.search(r"^pip install \. && (bulkload load .*)$", README, re.MULTILINE)
    assert line is not None
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    words = shlex.split(line[1])
    done = subprocess.run(
        [sys.executable, "-m", *words, "--ledger", str(tmp_path / "ledger")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = README.split("```console\n")[1].split("```")[0].splitlines()
    for told, real in zip(shown[2:6], done.stderr.splitlines()[1:5], strict=True):
        assert re.sub(r"[\d.]+ s", "T", told) == re.sub(r"[\d.]+ s", "T", real)
    assert "for a real one" in done.stderr


def test_the_test_line_of_the_readme_is_one_line() -> None:
    assert len(re.findall(r"^pip install -e '\.\[test\]' && pytest$", README, re.MULTILINE)) == 1


def test_every_sample_is_named_in_the_readme() -> None:
    assert all(f"samples/{path.name}" in README for path in (ROOT / "samples").iterdir() if path.suffix != ".ledger")
