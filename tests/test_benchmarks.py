"""The benchmark beside peers counts, compares and tells what it measured as it says it does."""

import asyncio
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import pinned, report, server
from benchmarks.contenders import CONTENDERS, Contender, Ready
from benchmarks.goals import RIVALS, ratios
from benchmarks.installing import Missing
from benchmarks.peers.order import Order
from benchmarks.results import SCHEMES, Figures, Results, Row, Scheme
from benchmarks.sink import Delay, Sink
from benchmarks.throughput import Measurement

ROOT = Path(__file__).parents[1]

ORDER = Order(
    url="http://127.0.0.1:1/hub",
    api_version="2015-01",
    token="token",
    body="{}",
    records=10,
    in_flight=2,
    seconds=1,
    source="",
)


def figures(per_second: float, *, busy: float = 1.0) -> Figures:
    return Figures(
        records=1000,
        per_second=per_second,
        cpu_microseconds=1e6 / per_second,
        peak_megabytes=40.0,
        p50=0.001,
        p99=0.01,
        client_busy=busy,
        server_busy=0.5,
    )


def row(name: str, *rates: float, scheme: Scheme = "plain", title: str | None = None) -> Row:
    runs = [figures(rate) for rate in rates]
    return Row(name=name, title=title or name, version="1.0", scheme=scheme, runs=runs)


def results(*rows: Row, skipped: Sequence[str] = ()) -> Results:
    return Results(
        began="2026-01-01T00:00:00+00:00",
        commit="abc123",
        is_dirty=True,
        records=1_000_000,
        record_bytes=430,
        in_flight=64,
        asked_runs=5,
        server="nginx 1.22.1",
        machine={"cores": "2"},
        versions={"Python": "3.11.7"},
        rows=rows,
        skipped=skipped,
    )


class Page(HTMLParser):
    """The elements of a page, with what they refer to, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_ratio_is_one_of_medians() -> None:
    measured = results(row("bulkload-wire", 10, 900, 1000), row("undici", 300, 500, 8000))
    (undici,) = [ratio for ratio in ratios(measured) if ratio.rival.names == ("undici",)]
    assert undici.value == 900 / 500
    assert undici.is_floor_reached
    assert not undici.is_aim_reached


@pytest.mark.parametrize(("of_64", "of_128"), [(1000, 1200), (1200, 1000)])
def test_wrk_counts_with_the_better_of_its_two_rows(of_64: float, of_128: float) -> None:
    measured = results(row("bulkload-wire", 600), row("wrk-64", of_64), row("wrk-128", of_128))
    (wrk,) = [ratio for ratio in ratios(measured) if ratio.value is not None]
    assert wrk.value == 600 / 1200


def test_a_ratio_is_within_one_scheme() -> None:
    measured = results(row("bulkload-wire", 600), row("undici", 100, scheme="tls"))
    assert {ratio.scheme for ratio in ratios(measured)} == set(SCHEMES)
    assert all(ratio.value is None for ratio in ratios(measured))


def test_what_was_not_measured_reaches_no_goal() -> None:
    text = report.markdown(results(row("undici", 100)))
    assert "not measured" in text
    assert "reached" not in text


def test_every_goal_is_against_rows_that_are_measured() -> None:
    schemes = {contender.name: contender.schemes for contender in CONTENDERS}
    assert all(scheme in schemes[name] for rival in RIVALS for name in rival.names for scheme in rival.goals)


def test_the_report_says_of_each_goal_whether_it_is_reached() -> None:
    text = report.markdown(results(row("bulkload-wire", 600), row("wrk-64", 1000)))
    assert "| plain HTTP | 0.60 x | 0.50 x, reached | 0.62 x, not reached | 0.60 x | - |" in text


def test_results_come_back_from_their_json_as_they_were() -> None:
    measured = results(row("bulkload-wire", 600, 700), row("wrk-64", 1000, scheme="tls"), skipped=("go: none",))
    again = Results.from_json(measured.to_json())
    assert again.to_json() == measured.to_json()
    assert report.markdown(again) == report.markdown(measured)


def test_a_report_can_be_made_again(tmp_path: Path) -> None:
    measured = results(row("bulkload-wire", 600), row("wrk-64", 1000))
    (tmp_path / "results.json").write_text(measured.to_json(), encoding="utf-8")
    report.write(tmp_path)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == report.markdown(measured)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == report.page(measured)


def test_the_page_runs_no_script_and_loads_nothing() -> None:
    page = Page(report.page(results(row("bulkload-wire", 600), row("wrk-64", 1000, scheme="tls"))))
    assert "svg" in page.elements
    assert "script" not in page.elements
    assert page.addresses == []


def test_a_page_tells_that_nothing_was_measured() -> None:
    page = Page(report.page(results(skipped=("bulkload, wire, plain: 9 of 10 records were accepted",))))
    assert "9 of 10 records" in page.text
    assert "svg" not in page.elements


def test_what_a_peer_says_is_text_in_the_page_and_in_markdown() -> None:
    said = "<img src=x> | `odd` & [more](https://x.example)"
    measured = results(row("bulkload-wire", 600, title=said), skipped=[said])
    page = Page(report.page(measured))
    assert "img" not in page.elements
    assert page.addresses == []
    assert page.text.count(said) >= 2
    assert r"\<img src=x\> \| \`odd\` \& \[more\](https://x.example)" in report.markdown(measured)


def test_a_crowded_machine_is_told() -> None:
    quiet = row("undici", 500)
    crowded = replace(quiet, runs=[figures(500, busy=0.5)])
    assert "others used this machine" not in report.markdown(results(quiet))
    assert "In 1 of 2 runs" in report.markdown(results(quiet, crowded))


def test_a_peer_that_is_missing_is_skipped_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def miss() -> Ready:
        raise Missing("rocket is not found")

    def prepare() -> Ready:
        return Ready("1.0", lambda _: pytest.fail("nothing is started"), lambda *_: pytest.fail("nothing ran"))

    missing = Contender(name="rocket", title="Rocket", share=1, prepare=miss)
    there = Contender(name="there", title="There", share=1, prepare=prepare, schemes=("tls",))
    entries = list(Measurement(tmp_path, 10, 1).entries([missing, there], SCHEMES))
    assert [entry.title for entry in entries] == ["There, tls"]
    assert "skipped: Rocket: rocket is not found" in capsys.readouterr().out


def test_peers_send_ids_as_long_as_those_of_records() -> None:
    addresses = {ORDER.address(number) for number in range(1000)}
    assert len(addresses) == 1000
    assert {len(address) for address in addresses} == {
        len("http://127.0.0.1:1/hub/installations/6a4f7d3e-0b43-4f0e-9a52-3f6b1c1d9e77?api-version=2015-01")
    }


class Answers(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.are_written = asyncio.Event()
        self.is_gone = False

    def is_closing(self) -> bool:
        return self.is_gone

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self.are_written.set()


REQUEST = b"PUT /hub HTTP/1.1\r\nHost: h\r\ncontent-length: 7\r\n\r\n\r\n\r\nabc"


@given(st.lists(st.integers(1, 5 * len(REQUEST)), max_size=10))
def test_the_sink_answers_each_request_once_however_it_arrives(cuts: list[int]) -> None:
    sink, answers, sent = Sink(), Answers(), REQUEST * 5
    sink.connection_made(answers)
    begins = sorted({0, *cuts})
    for begin, end in zip(begins, [*begins[1:], len(sent)], strict=True):
        sink.data_received(sent[begin:end])
    assert answers.written.count(b"HTTP/1.1 200 OK\r\n") == 5


async def test_the_sink_answers_late_and_in_order() -> None:
    delay, connections = Delay(0.05), [Answers(), Answers()]
    began = time.monotonic()
    for sink, answers in zip((Sink(delay), Sink(delay)), connections, strict=True):
        sink.connection_made(answers)
        sink.data_received(REQUEST * 2)
        assert answers.written == b""
    for answers in connections:
        await asyncio.wait_for(answers.are_written.wait(), 10)
    assert time.monotonic() - began >= 0.049
    assert [answers.written.count(b"200 OK") for answers in connections] == [2, 2]


async def test_the_sink_leaves_a_connection_alone_that_was_closed_meanwhile() -> None:
    delay, gone, there = Delay(0.001), Answers(), Answers()
    for answers in (gone, there):
        sink = Sink(delay)
        sink.connection_made(answers)
        sink.data_received(REQUEST)
    gone.is_gone = True
    await asyncio.wait_for(there.are_written.wait(), 10)
    assert gone.written == b""


@pytest.mark.parametrize("is_nginx_found", [True, False])
def test_the_server_answers_on_kept_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_nginx_found: bool
) -> None:
    if not is_nginx_found:
        monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    elif server.nginx() is None:
        pytest.skip("nginx is not found")
    with server.serving(tmp_path, core=min(os.sched_getaffinity(0))) as served:
        trust = ssl.create_default_context(cafile=served.ca_file)
        connections = (
            http.client.HTTPConnection("127.0.0.1", served.ports["plain"]),
            http.client.HTTPSConnection("127.0.0.1", served.ports["tls"], context=trust),
        )
        for connection in connections:
            connection.connect()
            before = connection.sock
            for _ in range(3):
                connection.request("PUT", "/hub/installations/1", body=b"x" * 430)
                answer = connection.getresponse()
                assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "0", b"")
            assert connection.sock is before
            connection.close()
        assert served.cpu() >= 0


def test_a_peak_of_memory_is_the_client_s_own() -> None:
    own = bytearray(b"x" * 50_000_000)
    used = pinned.run(["true"], cores=os.sched_getaffinity(0), environment={})
    assert used.peak < len(own) / 2


def test_the_time_of_a_process_is_told_with_its_children_s_and_without() -> None:
    child = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    used = pinned.run([sys.executable, "-c", program], cores=os.sched_getaffinity(0), environment={})
    assert used.cpu - used.own_cpu >= 0.25


def test_a_client_that_fails_is_told_by_its_error() -> None:
    with pytest.raises(pinned.Failed, match=r"^ValueError: too odd$"):
        pinned.run([sys.executable, "-c", "raise ValueError('too odd')"], cores=os.sched_getaffinity(0), environment={})


@pytest.mark.parametrize(
    ("accepted", "sent", "complaint"),
    [(9, 10, "9 of 10 records were accepted"), (10, 0, "0 requests sent")],
    ids=["refused", "settled before"],
)
def test_bulkload_counts_only_where_it_sent_all_records_and_all_were_accepted(
    monkeypatch: pytest.MonkeyPatch, accepted: int, sent: int, complaint: str
) -> None:
    monkeypatch.setattr("benchmarks.installing.said", lambda *_: "--transport [auto|wire]")
    (wire,) = [contender for contender in CONTENDERS if contender.name == "bulkload-wire"]
    told = wire.prepare().told
    summary = {"records": {"accepted": accepted}, "requests": {"sent": sent}, "latency": {"p50": 0.1, "p99": 0.2}}
    with pytest.raises(pinned.Failed, match=complaint):
        told(pinned.Used(json.dumps(summary), 1.0, 1.0, 1.0, 1), ORDER)


@pytest.mark.slow
def test_a_measurement_leaves_results_and_reports(tmp_path: Path) -> None:
    """One round of a few records, through real processes: bulkload, and a peer that needs nothing more."""
    names = ["bulkload-aiohttp", "aiohttp-tuned"]
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--records",
        "20",
        "--runs",
        "1",
        "--only",
        *names,
        "-o",
        str(tmp_path),
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    measured = Results.from_json((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert measured.skipped == []
    assert [(row.name, row.scheme) for row in measured.rows] == [(name, scheme) for scheme in SCHEMES for name in names]
    assert {run.records for row in measured.rows for run in row.runs} == {20}
    assert json.loads(measured.to_json())["commit"] == measured.commit
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report.md", "report.html"}
