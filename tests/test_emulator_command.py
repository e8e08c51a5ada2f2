"""`bulkload emulator` from outside: what it prints, how it ends, and that a load trusts it over TLS."""

import signal
import socket
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from bulkload.hub import Hub
from tests.processes import Case, EmulatedHub, Forks, counts, free_port, names, write


class TestTheProgram:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_prints_its_connection_string_and_ends_when_told(self, tmp_path: Path, number: signal.Signals) -> None:
        port = free_port()
        with EmulatedHub("--port", str(port), cwd=tmp_path) as hub:
            assert Hub.from_connection_string(hub.connection_string) == hub.hub
            assert (hub.hub.host, hub.hub.name, hub.hub.scheme) == (f"127.0.0.1:{port}", "devices", "http")
            assert hub.get("nothing-yet") is None
            ended = hub.end(number)
        assert (ended.code, ended.err) == (0, "")
        # What it printed is all of its output, so that a script can take it by $(…).
        assert ended.out == f"{hub.connection_string}\n"

    def test_refuses_in_one_line_what_it_cannot_use(self, tmp_path: Path, commands: Forks) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            taken = str(server.getsockname()[1])
            cases = {
                ("--port", taken): taken,
                ("--port", "65536"): "--port",
                ("--port", "x"): "--port",
                ("--hub", "no/name"): "no/name",
                ("--frobnicate",): "--frobnicate",
                ("--throttle", "x"): "--throttle x is no rate",
                ("--throttle", "5:0"): "--throttle 5:0 is no rate",
                ("--throttle-window", "60s"): "--throttle-window 60s is no window",
                ("--throttle-schedule", "5:1"): "--throttle-schedule 5:1 is none",
                ("--throttle", "5", "--throttle-window", "5/1s"): "--throttle and --throttle-window are two limits",
                ("--throttle-status", "200"): "--throttle-status",
                ("--latency", "40ms"): "--latency 40ms is no time",
                ("--fault", "crash=1"): "--fault crash=1 is none",
                ("--quota", "-1"): "--quota",
                ("--visibility-delay", "-1"): "--visibility-delay is 0 or more",
                ("--visibility-delay", "soon"): "--visibility-delay",
                ("--outage", "20"): "--outage 20 is none",
            }
            ran_all = commands.run_all((Case(("emulator", *options)) for options in cases), cwd=tmp_path)
        for ran, word in zip(ran_all, cases.values(), strict=True):
            assert ran.code == 2, ran.err
            assert word in ran.complaint


class TestTheThrottle:
    def test_takes_so_many_and_a_load_brings_all(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", names("throttled", 200))
        with EmulatedHub("--throttle-window", "150/1s", "--retry-after", "1", cwd=tmp_path) as hub:
            ran = commands.run("load", "d.ndjson", "--json", cwd=tmp_path, env=hub.env)
            assert ran.code == 0
            assert ran.summary["records"]["accepted"] == 200
            assert ran.summary["requests"]["throttled"] > 0


class TestTls:
    def test_is_believed_with_the_file_of_its_authority(self, tmp_path: Path, commands: Forks) -> None:
        ids = names("tls", 200)
        write(tmp_path / "d.ndjson", ids)
        with EmulatedHub("--tls", "--hub", "fleet", cwd=tmp_path) as hub:
            assert hub.ca_file is not None
            assert hub.ca_file.is_file()
            assert (hub.hub.name, hub.hub.scheme) == ("fleet", "https")
            load = partial(commands.run, "load", "d.ndjson", cwd=tmp_path)
            doubted = load(env=hub.env)
            assert doubted.code == 4, doubted.err
            assert "--ca-file" in doubted.err
            assert counts(tmp_path / "d.ndjson.ledger") == {}
            assert hub.get(ids[0]) is None

            believed = load("--ca-file", str(hub.ca_file), env=hub.env)
            assert believed.code == 0, believed.err
            assert hub.holds(ids)
            assert counts(tmp_path / "d.ndjson.ledger") == {"accepted": 200}
            by_setting = load("--ledger", "2.ledger", env={**hub.env, "BULKLOAD_CA_FILE": str(hub.ca_file)})
            assert by_setting.code == 0, by_setting.err
            assert hub.end(signal.SIGTERM).code == 0
        assert not hub.ca_file.exists()
