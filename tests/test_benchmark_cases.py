"""The benchmark's cases take turns, note what they find and tell it as they say they do."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import concurrency, everything, latency, loads, machine, processes, report, sizes, tables
from benchmarks.__main__ import main
from benchmarks.cases import SECTIONS
from benchmarks.findings import FIGURES, Findings, Notes
from benchmarks.loads import Loaded, Start
from benchmarks.pinned import Failed, Used
from benchmarks.rounds import Trial, take_turns
from benchmarks.sections import Section
from tests.test_benchmarks import Page, results, row

ROOT = Path(__file__).parents[1]


def found(case: str, points: Mapping[str, Mapping[str, float]], *, skipped: Sequence[str] = ()) -> Findings:
    """Points by their names, each with one run; they stand on a chart by the number that they begin with."""
    notes = Notes(case, runs=5)
    for name, figures in points.items():
        digits = name.split()[0].replace(",", "")
        notes.add(name, figures, at=float(digits) if digits.isdigit() else None)
    return replace(notes.findings(), skipped=skipped, commit="abc", is_dirty=False)


def cells(section: Section, title: str) -> list[list[str]]:
    (table,) = [table for table in section.filled() if table.title == title]
    return [list(row) for row in table.rows]


def loaded(*rates: float, p50: float | None = 0.05) -> Loaded:
    return Loaded(
        records=1000,
        used=Used("", seconds=2.0, cpu=0.5, own_cpu=0.1, peak=64 * 2**20),
        summary={"elapsed": 1.0, "latency": {"p50": p50, "p99": 0.1}},
        rates=rates,
        ledger_bytes=70_000,
        server_cpu=0.2,
    )


def test_findings_come_back_from_their_json_as_they_were() -> None:
    made = found("sizes", {"10 records": {"records": 10, "per_second": 5}}, skipped=("20 records: none",))
    assert Findings.from_json(made.to_json()) == replace(made, skipped=["20 records: none"], points=list(made.points))


def test_a_figure_that_a_run_does_not_have_is_not_there() -> None:
    notes = Notes("latency", runs=2)
    notes.add("64 workers", {"steady": None, "per_second": 1.0})
    notes.add("64 workers", {"steady": 3.0, "per_second": 2.0})
    (point,) = notes.findings().points
    assert point.figures == {"per_second": [1.0, 2.0], "steady": [3.0]}
    assert (point.median("per_second"), point.median("p50")) == (1.5, None)


def test_what_was_skipped_or_not_found_leaves_a_case_incomplete() -> None:
    notes = Notes("latency", runs=1)
    assert not notes.is_whole
    notes.add("64 workers", {"steady": 1.0})
    assert notes.is_whole
    notes.skip("128 workers: none")
    assert not notes.is_whole


def test_settings_take_turns_and_one_that_fails_has_no_more(tmp_path: Path) -> None:
    ran: list[str] = []

    def run(name: str) -> Callable[[], Mapping[str, float | None]]:
        def once() -> Mapping[str, float | None]:
            ran.append(name)
            if name == "bad":
                raise Failed("it broke")
            return {"per_second": float(len(ran))}

        return once

    notes = Notes("sizes", runs=2, output=tmp_path)
    take_turns([Trial(name, 1, run(name)) for name in ("a", "bad", "b")], notes, runs=2, told=["per_second", "p50"])
    assert ran == ["a", "bad", "b", "a", "b"]
    kept = Findings.from_json((tmp_path / "sizes.json").read_text(encoding="utf-8"))
    assert {point.name: point.figures["per_second"] for point in kept.points} == {"a": [1.0, 4.0], "b": [3.0, 5.0]}
    assert kept.skipped == ["bad: it broke"]


def test_the_rate_of_full_seconds_leaves_out_ramp_and_end() -> None:
    assert loaded(10, 500, 1000, 1002, 5).steady == 1001
    assert loaded(10, 500, 5).steady is None
    assert loaded().steady is None


def test_figures_of_a_load_are_per_record() -> None:
    figures = loaded(10, 500, 1000, 1002, 5).figures(Start(0.3, 0.1))
    assert set(figures) <= set(FIGURES)
    assert figures["per_second"] == 500
    assert figures["own_per_second"] == 1000
    assert figures["cpu_microseconds"] == pytest.approx(500)
    assert figures["net_cpu_microseconds"] == pytest.approx(200)
    assert figures["in_flight"] == pytest.approx(1001 * 0.05)
    assert figures["peak_megabytes"] == 64


def test_a_start_that_took_longer_than_a_load_costs_no_less_than_nothing() -> None:
    assert loaded(p50=None).figures(Start(1.0, 1.0))["net_cpu_microseconds"] == 0


def test_rates_stand_beside_what_the_latency_allows() -> None:
    points = {
        "64 workers": {"steady": 1200, "ideal_part": 0.94, "net_cpu_microseconds": 40},
        "2,000 workers": {"steady": 30000, "ideal_part": 0.75, "net_cpu_microseconds": 20},
    }
    section = latency.section(found("latency", points))
    assert cells(section, "Ratios") == [
        ["rate in full seconds beside the ideal, the lowest", "75.0% (2,000 workers)"],
        [
            "CPU per record without start, dearest beside cheapest",
            "2.00 x (64 workers beside 2,000 workers)",
        ],
    ]
    measured, ideal = section.curves[0].lines
    assert [tuple(spot) for spot in measured.spots] == [(64, 1200), (2000, 30000)]
    assert tuple(ideal.spots[-1]) == (2000, 40000)


def test_idle_workers_are_compared_with_none() -> None:
    few, many = (setting.name for setting in concurrency.IDLE)
    costs = {"16 workers": 20, "1,024 workers": 22, few: 30, many: 33}
    points = {name: {"net_cpu_microseconds": cost} for name, cost in costs.items()}
    section = concurrency.section(found("concurrency", points))
    assert [ratio for _, ratio in cells(section, "Ratios")] == ["1.10 x (1,024 workers beside 16 workers)", "1.10 x"]
    assert [spot.at for spot in section.curves[0].lines[0].spots] == [16, 1024]


def test_every_row_of_concurrency_has_a_hub_that_all_its_workers_can_use() -> None:
    few, many = concurrency.IDLE
    assert few.delay == many.delay == concurrency.USED / concurrency.RATE
    assert ("--rate", str(concurrency.CAP)) == many.flags[2:]
    assert concurrency.CAP * many.delay <= concurrency.USED


def test_what_a_further_record_costs_is_the_difference_of_two_sizes() -> None:
    points: dict[str, dict[str, float]] = {
        "1,000 records": {"records": 1000, "own_per_second": 500, "cpu_microseconds": 1000, "peak_megabytes": 50},
        "11,000 records": {
            "records": 11_000,
            "own_per_second": 5500 / 3,
            "cpu_microseconds": 200,
            "peak_megabytes": 55,
        },
    }
    section = sizes.section(found("sizes", points))
    assert cells(section, "Each further record") == [["1,000 records to 11,000 records", "2,500", "120.0"]]
    assert cells(section, "Ratios")[0] == ["peak memory", "1.10 x"]


def test_a_file_for_which_there_is_no_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="GB free, and these sizes want"):
        sizes.measure(tmp_path, Notes("sizes", runs=1), sizes=[10**15], runs=1)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_are_compared_with_one_for_each_hub() -> None:
    costs = dict(zip((setting.name for setting in processes.SETTINGS), (20, 25, 40, 42), strict=True))
    points = {name: {"cpu_microseconds": cost} for name, cost in costs.items()}
    section = processes.section(found("processes", points))
    assert ["CPU per record", "1.25 x", "1.05 x"] in cells(section, "Ratios")
    assert ["records/s in full seconds", "not measured", "not measured"] in cells(section, "Ratios")


def test_each_process_may_have_as_many_requests_in_flight() -> None:
    near, *_, far = processes.SETTINGS
    assert (near.flags, near.ideal) == (("--processes", "1"), None)
    assert (far.flags, far.ideal) == (("--processes", "2", "--workers", "512"), 20_480)


def test_a_client_of_several_processes_leaves_the_server_its_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert machine.many_cores() == ([0, 2, 3], 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert machine.many_cores() == ([0, 1], 1)


def test_a_report_of_several_cases_has_a_part_for_each(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(results(row("bulkload-wire", 600)).to_json(), encoding="utf-8")
    for case in SECTIONS:
        points: dict[str, dict[str, float]] = (
            {} if case == "processes" else {"64 workers": {"net_cpu_microseconds": 30.0, "per_second": 5.0}}
        )
        made = found(case, points, skipped=("a <b>: none",))
        if case == "pacing":
            made = replace(made, points=[replace(point, words={"kept": "yes"}) for point in made.points])
        (tmp_path / f"{case}.json").write_text(made.to_json(), encoding="utf-8")
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    for part in (report.section(measured) for measured in report.read(tmp_path)):
        assert f"## {part.title}" in text
        assert part.title in page.text
    assert page.elements.count("section") == len(SECTIONS) + 1
    assert "b" not in page.elements
    assert "script" not in page.elements
    assert all(address.startswith("#case-") for address in page.addresses)
    assert "1 of 1 kept their bound" in text


def test_a_chart_without_a_figure_is_left_out() -> None:
    page = Page(report.page(found("latency", {"64 workers": {"per_second": 5.0}})))
    assert "svg" not in page.elements


def test_what_the_cases_were_measured_on_is_told_by_case_where_it_differs() -> None:
    one, other = found("latency", {}), replace(found("sizes", {}), commit="def", settings={"peak": "1 MB"})
    told = {row[0]: row[1] for row in tables.surroundings([one, other]).rows}
    assert told["commit"] == "latency: abc; sizes: def"
    assert told["cores"] == one.machine["cores"]
    assert told["peak"] == "sizes: 1 MB"


def test_a_row_over_one_scheme_alone_has_blanks_for_the_other() -> None:
    glance = tables.glance(results(row("wire", 1000), row("wire", 500, scheme="tls"), row("sdk", 10, scheme="tls")))
    assert [list(row) for row in glance.rows] == [
        ["wire", "1,000 (1,000.0)", "1.00, 10.00", "40", "500 (2,000.0)", "1.00, 10.00", "40"],
        ["sdk", "-", "-", "-", "10 (100,000.0)", "1.00, 10.00", "40"],
    ]


def test_a_table_for_a_terminal_has_its_columns_aligned() -> None:
    table = tables.Table("Title", ("who", "n"), [("a", "1,000"), ("long", "1")])
    assert tables.aligned(table).splitlines() == ["Title", "  who       n", "  a     1,000", "  long      1"]


def test_a_case_that_cannot_begin_says_so_in_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Failed("the hub is away")

    monkeypatch.setattr("benchmarks.sizes.measure", fail)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["benchmarks", "sizes", "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "all of it: the hub is away" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_all_runs_every_case_there_is() -> None:
    assert set(everything.TRIALS) == {"throughput", *SECTIONS}


def test_a_flag_is_found_by_its_help(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "  --transport [auto|wire]\n      What\n  --processes INTEGER  How many\n  --process-group X\n"
    monkeypatch.setattr("benchmarks.installing.said", lambda *_: told)
    assert loads.choices("--transport") == ["auto", "wire"]
    assert loads.choices("--processes") == ()
    assert loads.choices("--process") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "flags"),
    [
        ("latency", ["--workers", "4", "--seconds", "0.5"]),
        ("concurrency", ["--workers", "4", "8", "--seconds", "0.01"]),
        ("sizes", ["--sizes", "20", "40"]),
        ("processes", ["--records", "40", "--seconds", "0.01"]),
        ("check", ["--records", "40"]),
        ("load", ["--records", "40"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_case_leaves_findings_and_reports(tmp_path: Path, case: str, flags: Sequence[str]) -> None:
    """One round of a few records, through real processes."""
    command = [sys.executable, "-m", "benchmarks", case, *flags, "--runs", "1", "-o", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    text = (tmp_path / f"{case}.json").read_text(encoding="utf-8")
    made = Findings.from_json(text)
    if case == "processes" and loads.choices("--processes") is None:
        assert made.skipped == ["this version of bulkload has no --processes"]
        assert ran.returncode == 1
        return
    assert ran.returncode == 0, ran.stderr
    assert made.skipped == []
    assert all(point.figures["per_second"] for point in made.points)
    assert json.loads(text)["commit"] == made.commit
    assert {path.name for path in tmp_path.iterdir()} == {f"{case}.json", "report.md", "report.html"}


@pytest.mark.slow
def test_all_cases_come_into_one_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "all", "--trial", "--runs", "1", "--only", "check", "sizes"]
    ran = subprocess.run([*command, "-o", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert {path.name for path in tmp_path.glob("*.json")} == {"check.json", "sizes.json"}
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Check" in text
    assert "## Size of the file" in text
