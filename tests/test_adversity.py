"""Real loads into hubs that throttle and fail in every way: no record is lost, and none is sent more than is needed."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.processes import (
    EmulatedHub,
    Forks,
    Put,
    Ran,
    RecordingHub,
    Reply,
    Started,
    counts,
    names,
    refusal,
    write,
)

LEDGER = "d.ndjson.ledger"
RESET = Reply(None)
CUT_SHORT = Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<entry")
NO_ANSWER = Reply(raw=b"")
GARBAGE = Reply(raw=b"220 smtp.example ESMTP\r\n")
HALF_A_HEAD = Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Le")
THROTTLED = refusal(429, "throttled")

# Each is sent as the answer to the first attempt of every tenth record.
TRANSIENT = {
    **{str(status): refusal(status, "not now") for status in (408, 409, 500, 502, 503, 504)},
    "unknown": refusal(599, "not now"),
    "reset": RESET,
    "closed": NO_ANSWER,
    "cut short": CUT_SHORT,
    "half a head": HALF_A_HEAD,
    "garbage": GARBAGE,
}
THROTTLES = {
    "429": refusal(429, ""),
    "429 without a body": Reply(429),
    "403 with its words": refusal(403, "The request rate is throttled"),
    "403 with Retry-After": Reply(403, headers=("Retry-After: 0",)),
    "bare 403": Reply(403),
    "403 that says nothing": refusal(403, "Forbidden"),
}


def first_time(reply: Reply, *, every: int) -> Callable[[Put], Reply]:
    """Answer so to the first attempt of every so-many-th id, the first one left out, and accept all else."""
    seen: Counter[str] = Counter()

    def answer(put: Put) -> Reply:
        seen[put.id] += 1
        number = int(put.id.rpartition("-")[2])
        return reply if number % every == every - 1 and seen[put.id] == 1 else Reply()

    return answer


def load(commands: Forks, hub: RecordingHub | EmulatedHub, folder: Path, *flags: str) -> Ran:
    return commands.run("load", "d.ndjson", *flags, "--json", cwd=folder, env=hub.env)


def accepted(ran: Ran, number: int) -> dict[str, Any]:
    """The summary of a load that brought everything."""
    assert ran.code == 0, ran.err
    assert ran.summary["records"]["accepted"] == number
    return ran.summary


@pytest.mark.parametrize("fault", TRANSIENT)
def test_each_transient_fault_costs_one_attempt_and_no_record(fault: str, tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 100))
    with RecordingHub(first_time(TRANSIENT[fault], every=10)) as hub:
        summary = accepted(load(commands, hub, tmp_path), 100)
        assert len(hub.puts) == 110
    assert summary["requests"] == {"sent": 110, "throttled": 0, "retried": 10, "failed": 10}


@pytest.mark.parametrize("throttle", THROTTLES)
def test_each_throttle_costs_no_attempt_and_no_record(throttle: str, tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 100))
    with RecordingHub(first_time(THROTTLES[throttle], every=10)) as hub:
        summary = accepted(load(commands, hub, tmp_path, "--max-attempts", "1"), 100)
        assert len(hub.puts) == 110
    assert summary["requests"] == {"sent": 110, "throttled": 10, "retried": 0, "failed": 0}
    assert summary["limited_by"] == "throttling"


@pytest.mark.parametrize("throttle", ["429", "403 with Retry-After", "bare 403"])
def test_a_record_that_is_throttled_for_ever_holds_nobody_up(throttle: str, tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 1000))
    with RecordingHub(lambda put: THROTTLES[throttle] if put.id == "id-7" else Reply(), delay=0.01) as hub:
        ran = load(commands, hub, tmp_path, "--max-duration", "6s")
        assert ran.code == 5, ran.err
        assert hub.ids.count("id-7") <= 40
    assert ran.summary["limited_by"] == "throttling"
    assert counts(tmp_path / LEDGER) == {"accepted": 999}


@pytest.mark.parametrize("fault", ["reset", "503"])
def test_a_record_that_always_fails_is_exhausted_and_its_letter_says_why(
    fault: str, tmp_path: Path, commands: Forks
) -> None:
    write(tmp_path / "d.ndjson", names("id", 20))
    with RecordingHub(lambda put: TRANSIENT[fault] if put.id == "id-7" else Reply()) as hub:
        ran = load(commands, hub, tmp_path, "--max-attempts", "3")
        assert ran.code == 1, ran.err
        # Where nothing is answered, the connection may have been closed while it was idle: once that costs no attempt.
        assert hub.ids.count("id-7") == (4 if fault == "reset" else 3)
    assert counts(tmp_path / LEDGER) == {"accepted": 19, "exhausted": 1}
    assert '"outcome":"exhausted"' in (tmp_path / f"{LEDGER}.dead.ndjson").read_text()


def test_connections_that_the_hub_closes_while_they_are_idle_cost_no_record(tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 300))
    closing = Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with RecordingHub(lambda _: closing) as hub:
        accepted(load(commands, hub, tmp_path), 300)
        assert set(hub.ids) == set(names("id", 300))


def test_a_retry_after_of_a_transient_fault_holds_its_record_and_nobody_else(tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 100))
    busy = refusal(503, "not now", "Retry-After: 2")
    with RecordingHub(first_time(busy, every=100)) as hub:
        accepted(load(commands, hub, tmp_path), 100)
        first, second = [put.at for put in hub.puts if put.id == "id-99"]
        others = [put.at for put in hub.puts if put.id != "id-99"]
    assert second - first >= 2
    assert max(others) - first < 1


def test_a_retry_after_stops_everyone_while_nothing_is_accepted_and_then_one_request_asks(
    tmp_path: Path, commands: Forks
) -> None:
    write(tmp_path / "d.ndjson", names("id", 300))
    closed_until = [0.0]

    def answer(put: Put) -> Reply:
        if put.id == "id-60" and not closed_until[0]:
            closed_until[0] = put.at + 2
        return refusal(429, "", "Retry-After: 2") if put.at < closed_until[0] else Reply()

    with RecordingHub(answer, delay=0.02) as hub:
        accepted(load(commands, hub, tmp_path), 300)
        meanwhile = [put for put in hub.puts if closed_until[0] - 1.5 < put.at < closed_until[0]]
        after = [put.at for put in hub.puts if put.at >= closed_until[0]]
    assert meanwhile == []
    # One, and the next only once it is answered.
    assert after[1] - after[0] >= 0.02


def test_a_wait_for_the_hub_ends_by_max_duration_or_a_signal_with_nothing_lost(tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 50))
    with RecordingHub(lambda put: Reply() if put.id == "id-0" else refusal(429, "", "Retry-After: 200")) as hub:
        ran = load(commands, hub, tmp_path, "--max-duration", "1s")
        assert ran.code == 5, ran.err
        assert (ran.summary["records"]["accepted"], ran.summary["records"]["pending"]) == (1, 49)
        sent = len(hub.puts)
        with Started("load", "d.ndjson", "--json", cwd=tmp_path, env=hub.env) as started:
            hub.wait_for(sent + 1)
            started.signal(signal.SIGTERM)
            stopped = started.finish(within=5)
        assert stopped.code == 5, stopped.err
        assert stopped.summary["records"]["pending"] == 49
        hub.answer = lambda _: Reply()
        accepted(load(commands, hub, tmp_path), 50)


def test_bare_403s_are_believed_for_as_long_as_the_setting_says(tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 50))
    (tmp_path / "c.toml").write_text('[hub]\npatience = "1s"\n')
    with RecordingHub(lambda put: Reply() if put.id == "id-0" else Reply(403)) as hub:
        ran = load(commands, hub, tmp_path, "--config", "c.toml")
        assert ran.code == 4, ran.err
        assert "accepted nothing for 1 second (" in ran.summary["reason"]
        assert counts(tmp_path / LEDGER) == {"accepted": 1}
        hub.answer = lambda _: Reply()
        accepted(load(commands, hub, tmp_path), 50)


def test_a_hub_that_refuses_everything_from_the_start_is_asked_six_times(tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 50))
    with RecordingHub(lambda _: Reply(403)) as hub:
        ran = load(commands, hub, tmp_path)
        assert ran.code == 4, ran.err
        assert "right to write" in ran.summary["reason"]
        assert "throttled" in ran.summary["reason"]
        assert len(hub.puts) == 6
        assert hub.puts[-1].at - hub.puts[0].at >= 10
    assert counts(tmp_path / LEDGER) == {}


def test_a_namespace_that_is_full_stops_the_run_and_keeps_what_was_accepted(tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 60))
    with EmulatedHub("--quota", "40", cwd=tmp_path) as hub:
        ran = load(commands, hub, tmp_path)
        assert ran.code == 4, ran.err
        assert "devices must be split over namespaces" in ran.summary["reason"]
    assert counts(tmp_path / LEDGER) == {"accepted": 40}


def test_a_hub_that_fails_all_requests_for_a_while_loses_no_record(tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 3000))
    began: list[float] = []

    def answer(put: Put) -> Reply:
        if not began and put.id == "id-500":
            began.append(put.at)
        return refusal(500, "down") if began and put.at - began[0] < 4 else Reply()

    with RecordingHub(answer, delay=0.01) as hub:
        ran = load(commands, hub, tmp_path, "--max-attempts", "3")
        accepted(ran, 3000)
        meanwhile = [put.at for put in hub.puts if began[0] + 1 < put.at < began[0] + 4]
    assert len(meanwhile) <= 4
    assert "most requests fail (500 down); records in hand wait, and the run goes on by itself" in ran.err
    assert "the hub works again after" in ran.err


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_hub_that_is_gone_is_asked_once_a_second_at_most_and_the_run_goes_on_by_itself(
    is_closed: bool, tmp_path: Path
) -> None:
    write(tmp_path / "d.ndjson", names("id", 2000))
    flags = ("--json", "--rate", "1000", "--max-attempts", "2")
    with ExitStack() as stack:
        with RecordingHub(delay=0.01) as hub:
            started = stack.enter_context(Started("load", "d.ndjson", *flags, cwd=tmp_path, env=hub.env))
            hub.wait_for(200)
            if not is_closed:
                hub.answer = lambda _: RESET
                time.sleep(1)
                asked = len(hub.puts)
                time.sleep(3)
                assert len(hub.puts) - asked <= 3
                hub.answer = lambda _: Reply()
                ran = started.finish()
        if is_closed:
            time.sleep(3)
            with RecordingHub(delay=0.01, port=hub.port):
                ran = started.finish()
    accepted(ran, 2000)
    assert "the hub does not answer any more (" in ran.err
    assert "the hub works again after" in ran.err


FLAGS = {
    "a bucket": ("--throttle", "400"),
    "a small bucket": ("--throttle", "400:5%"),
    "429": ("--throttle", "400:5%", "--throttle-status", "429"),
    "bare": ("--throttle", "400:5%", "--throttle-bare"),
    "retry after": ("--throttle", "400:5%", "--retry-after", "1"),
    "windows": ("--throttle-window", "300/1s"),
    "windows that say when": ("--throttle-window", "300/1s", "--retry-after", "1"),
    "a schedule": ("--throttle-schedule", "0:800,1:200,2:600"),
    "latency": ("--latency", "0.03:0.02", "--throttle", "400:5%"),
    "resets": ("--fault", "reset=0.05"),
    "errors": ("--fault", "error=0.05"),
    "truncated answers": ("--fault", "truncate=0.05"),
    "faults and a throttle": ("--throttle", "400:5%", "--fault", "reset=0.02,error=0.02,truncate=0.01"),
    "an outage": ("--throttle", "400:5%", "--outage", "1:2"),
}


@pytest.mark.parametrize("name", FLAGS)
def test_an_emulated_hub_in_each_of_its_moods_takes_everything(name: str, tmp_path: Path, commands: Forks) -> None:
    write(tmp_path / "d.ndjson", names("id", 1000))
    with EmulatedHub(*FLAGS[name], cwd=tmp_path) as hub:
        summary = accepted(load(commands, hub, tmp_path), 1000)
        seen = hub.statistics
    requests = summary["requests"]
    assert requests["throttled"] == seen["throttled"]
    assert seen["accepted"] >= 1000
    assert requests["sent"] == 1000 + requests["throttled"] + requests["failed"]
    # Far fewer than a client that asks again and again: even a second is enough to find the ceiling.
    assert requests["throttled"] <= 300
    if "--fault" in FLAGS[name]:
        assert requests["failed"] == seen["faults"] > 0
    assert counts(tmp_path / LEDGER) == {"accepted": 1000}
