"""Reading registrations: many channels of a hub that takes its time, and a whole hub with how much memory."""

import json
import os
import re
import resource
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.findings import Findings, Notes
from benchmarks.loads import PROGRAM
from benchmarks.sections import Section, told
from bulkload.emulator.register import Register
from bulkload.emulator.saved import Saved
from bulkload.registration import Handle, Registration, Template

LATENCY = 0.04


_HOW = (
    f"The registrations of many channels, of a hub that answers after {LATENCY * 1000:g} ms; and a migration of a "
    "whole hub and of a tenth of it: memory must not grow with it."
)


def measure(folder: Path, notes: Notes, *, channels: int, workers: int, registrations: int, runs: int) -> None:
    """Print the time of so many channels beside what the latency allows, and the peaks of a migration and a tenth."""
    times = _channels(folder, channels, workers, runs)
    allowed = channels * LATENCY / workers
    for seconds in times:
        notes.add(f"{channels:,} channels, {workers} workers", {"seconds": seconds, "allowed": seconds / allowed})
    median = statistics.median(times)
    print(f"registrations of {channels:,} channels, {LATENCY * 1000:.0f} ms, {workers} workers, median of {runs}:")
    print(f"  {median:.1f} s ({min(times):.1f} to {max(times):.1f}), {median / allowed:.2f} of {allowed:.1f} s")
    for number in (registrations // 10, registrations):
        seconds, peak = _migrate(folder, number)
        notes.add(f"migrate of {number:,} registrations", {"seconds": seconds, "peak_megabytes": peak / 1024})
        print(f"migrate --all of {number:,} registrations: {seconds:.0f} s, {peak / 1024:.1f} MB peak memory")
    notes.save()


def section(findings: Findings) -> Section:
    """Times and peaks."""
    return told(findings, "Registrations", "what", _HOW)


def _channels(folder: Path, channels: int, workers: int, runs: int) -> list[float]:
    held = _fill(folder / f"{channels}.hub", channels)
    handles = folder / "handles.txt"
    handles.write_text("".join(f"{_token(number)}\n" for number in range(channels)))
    command = (*PROGRAM, "registrations", str(handles), "--workers", str(workers), "--progress", "none")
    times = []
    with _hub(held, "--latency", str(LATENCY)) as env:
        for _ in range(runs):
            began = time.perf_counter()
            done = subprocess.run(command, env=env, capture_output=True, check=True)
            times.append(time.perf_counter() - began)
            assert len(done.stdout.splitlines()) == channels
    return times


def _migrate(folder: Path, number: int) -> tuple[float, int]:
    """Seconds, and the peak of the command's memory in KiB."""
    held = _fill(folder / f"{number}.hub", number // 2, has_templates=True)
    made = folder / f"{number}.ndjson"
    with _hub(held) as env:
        process = subprocess.Popen(
            (*PROGRAM, "migrate", "--all", "-o", str(made), "--json", "--progress", "none"),
            env=env,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        summary = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert summary["registrations"]["read"] == number, summary
    assert isinstance(usage, resource.struct_rusage)
    made.unlink()
    held.unlink()
    return summary["elapsed"], usage.ru_maxrss


def _fill(path: Path, devices: int, *, has_templates: bool = False) -> Path:
    """A hub's file: a registration of each device, and one with a template, in no order of their channels."""
    template = Template(body='{"aps":{"alert":"$(message)"}}', name="hello")
    saved = Saved(path)
    register = Register(saved.connection)
    for number in range(devices):
        handle, id_ = Handle.device_token(_token(number)), f"{10**15 + number}-{10**15 + number}"
        tags = ("news", f"lang:{number % 20}", f"city:{number % 1000}")
        register.put(Registration(kind="Apple", handle=handle, registration_id=f"{id_}-1", tags=tags))
        if has_templates:
            register.put(
                Registration(kind="AppleTemplate", handle=handle, registration_id=f"{id_}-2", template=template)
            )
    saved.close()
    return path


def _token(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 256):064X}"


@contextmanager
def _hub(held: Path, *options: str) -> Iterator[dict[str, str]]:
    """An emulator in a process of its own, and the environment that leads to it."""
    command = (*PROGRAM, "emulator", "--save", str(held), *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert re.match("Endpoint=", line), line
            yield {**os.environ, "BULKLOAD_CONNECTION_STRING": line}
        finally:
            process.terminate()
