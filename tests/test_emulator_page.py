"""What a person sees at the emulator's root."""

import hashlib
import re
import shutil
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields
from html import unescape
from pathlib import Path

import aiohttp
import pytest

from bulkload.cli.emulator import emulator as command
from bulkload.emulator import Emulator, page, server
from bulkload.emulator.behaviour import Behaviour, Outage
from bulkload.emulator.limits import fixed_window, schedule, token_bucket
from bulkload.emulator.server import STATISTICS
from bulkload.emulator.statistics import Counts, Requests
from bulkload.registration import Handle, Registration, entry
from tests.test_emulator import BODY, Client


@dataclass(frozen=True)
class Seen:
    """The page as it came."""

    html: str
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        """What is to be read on it, every run of blanks as one."""
        body = re.sub(r"<(style|script)>.*?</\1>", "", self.html, flags=re.DOTALL)
        return " ".join(unescape(re.sub("<[^>]*>", " ", body)).split())

    def inside(self, element: str) -> str:
        """What stands between the tags of its only element of a name."""
        [inside] = re.findall(f"<{element}>(.*?)</{element}>", self.html, re.DOTALL)
        return str(inside)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def look(session: aiohttp.ClientSession, emulator: Emulator) -> Seen:
    async with session.get(f"http://{emulator.hub.host}/") as response:
        assert response.status == 200
        return Seen(await response.text(), response.headers)


async def test_it_says_how_to_reach_the_hub_without_a_token(session: aiohttp.ClientSession) -> None:
    async with Emulator(hub="devices") as emulator:
        seen = await look(session, emulator)
    assert seen.headers["Content-Type"] == "text/html; charset=utf-8"
    assert emulator.connection_string in seen.text
    assert "certificate authority" not in seen.text


async def test_with_tls_it_names_the_authority_to_trust() -> None:
    async with Emulator(hub="devices", tls=True) as emulator:
        shown = page.render(await emulator._view())
    assert str(emulator.ca_file) in shown
    assert emulator.connection_string in shown


async def test_it_counts_installations_by_platform_and_registrations_by_kind(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that several parts are counted one by one.
    monkeypatch.setattr(server, "_COUNTED_AT_ONCE", 2)
    async with Emulator(hub="devices") as emulator:
        client = Client(session, emulator.hub)
        for number, platform in enumerate(["apns", "APNS", "gcm", "apns", "gcm"]):
            await client.put(BODY | {"installationId": f"i{number}", "platform": platform})
        for token in ("00", "11", "22"):
            body = entry(Registration(kind="Apple", handle=Handle.device_token(token)))
            assert (await client.ask("POST", "/registrations/", data=body)).status == 200
        seen = await look(session, emulator)
        # Now the installations are among the registrations; they are still none of their own.
        assert (await client.ask("GET", "/registrations/")).status == 200
        again = await look(session, emulator)
    for one in (seen, again):
        assert "Installations 5 apns 3 gcm 2 Registrations of their own 3 Apple 3 " in one.text


async def test_an_empty_hub_holds_nothing(session: aiohttp.ClientSession) -> None:
    async with Emulator(hub="devices") as emulator:
        seen = await look(session, emulator)
    assert "Installations 0 Registrations of their own 0 " in seen.text


async def test_it_counts_requests_under_every_name_and_itself_under_none(session: aiohttp.ClientSession) -> None:
    behaviour = Behaviour(throttle=fixed_window("1/1h"))
    async with Emulator(hub="devices", behaviour=behaviour) as emulator:
        for _ in range(3):
            await look(session, emulator)
        assert emulator.requests == Requests()
        client = Client(session, emulator.hub)
        assert [(await client.put()).status for _ in range(3)] == [200, 403, 403]
        seen = await look(session, emulator)
    counted = [field.name for field in fields(Requests) if field.name != "seconds"]
    assert re.findall(r'data-count="(\w+)"', seen.html) == list(page._LABELS)
    assert sorted(page._LABELS) == sorted(counted)
    assert "Came 3 PUTs accepted 1 " in seen.text
    assert " Throttled 2 " in seen.text


async def test_the_numbers_that_it_asks_for_leave_out_the_seconds(session: aiohttp.ClientSession) -> None:
    async with Emulator(hub="devices") as emulator:
        await Client(session, emulator.hub).put()
        seen = await look(session, emulator)
        [address] = re.findall(r'data-statistics="([^"]*)"', seen.html)
        told = {}
        for path in (unescape(address), STATISTICS):
            async with session.get(f"http://{emulator.hub.host}{path}") as response:
                told[path] = await response.json()
    totals, whole = told.values()
    assert (totals["seen"], totals["accepted"], totals["seconds"]) == (1, 1, [])
    assert len(whole["seconds"]) == 1
    assert emulator.requests.seconds == [Counts(seen=1, accepted=1)]


async def test_its_settings_are_those_of_the_command(session: aiohttp.ClientSession) -> None:
    behaviour = Behaviour(
        throttle=token_bucket("500:5%"),
        throttle_status=429,
        throttle_is_bare=True,
        retry_after=3,
        quota=1000,
        latency=0.04,
        spread=0.02,
        visibility_delay=5,
        faults={"reset": 0.01, "stall": 0.0005},
        outages=(Outage(20, 2.5), Outage(60, 5)),
    )
    async with Emulator(hub="devices", dialect="2023", behaviour=behaviour) as emulator:
        seen = await look(session, emulator)
    for shown in (
        "Dialect --dialect 2023",
        "TLS --tls off",
        "Kept in --save memory only",
        "Throttle --throttle 500 requests a second, 25 at once",
        "Answer when throttled --throttle-status 429 without words, Retry-After 3 s",
        "Quota --quota 1,000 in all",
        "Latency --latency 0.04 s, give or take 0.02 s",
        "Visible after --visibility-delay 5 s",
        "Faults --fault reset 1 %, stall 0.05 %",
        "Outages --outage from second 20 on for 2.5 s, from second 60 on for 5 s",
    ):
        assert shown in seen.text
    known = {flag for parameter in command.params for flag in parameter.opts}
    shown_flags = set(re.findall(r"--[a-z-]+", seen.text))
    assert shown_flags <= known
    # These are in the connection string and the title, or said along with another.
    said_elsewhere = {"--hub", "--port", "--throttle-window", "--throttle-schedule", "--throttle-bare", "--retry-after"}
    assert known - shown_flags - {"--help"} == said_elsewhere


async def test_what_is_not_set_is_said_too(session: aiohttp.ClientSession) -> None:
    async with Emulator(hub="devices") as emulator:
        seen = await look(session, emulator)
    assert (
        "Throttle --throttle none Answer when throttled --throttle-status 403 with words Quota --quota none"
        in seen.text
    )
    assert "Visible after --visibility-delay at once Faults --fault none Outages --outage none" in seen.text


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (token_bucket("500"), "500 requests a second, 500 at once"),
        (token_bucket("1500:50"), "1,500 requests a second, 50 at once"),
        (schedule("0:1000,40:300"), "1,000 requests a second, 1,000 at once; 300 from second 40 on"),
        (fixed_window("3000/1m"), "3,000 requests in each 60 s"),
    ],
)
def test_a_limit_s_text_says_how_much_it_takes(limit: object, text: str) -> None:
    assert str(limit) == text


async def test_all_that_is_not_its_own_is_escaped(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    save = tmp_path / "<script>alert('&amp;')<"
    async with Emulator(hub="devices", key='"><script>alert(1)</script>$hub&lt', save=save) as emulator:
        seen = await look(session, emulator)
    assert emulator.connection_string in seen.text
    assert str(save) in seen.text
    assert "alert" not in re.sub("&lt;script&gt;alert", "", seen.html)


async def test_its_policy_allows_its_own_style_and_script_alone(session: aiohttp.ClientSession) -> None:
    async with Emulator(hub="devices") as emulator:
        seen = await look(session, emulator)
    rules = dict(rule.split(" ", 1) for rule in seen.headers["Content-Security-Policy"].split("; "))
    digests = {
        element: f"'sha256-{b64encode(hashlib.sha256(seen.inside(element).encode()).digest()).decode()}'"
        for element in ("style", "script")
    }
    assert rules == {
        "default-src": "'none'",
        "style-src": digests["style"],
        "script-src": digests["script"],
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert not re.search(r"\b(style|on\w+)=", seen.html), "the policy would not let it"
    assert not re.search(r"(src|href)=(?!\"data:,\")", seen.html), "nothing comes from elsewhere"
    assert seen.headers["Cache-Control"] == "no-store"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not found")
def test_its_script_is_one(tmp_path: Path) -> None:
    script = tmp_path / "script.js"
    script.write_text(Seen(page._template().template, {}).inside("script"))
    checked = subprocess.run(["node", "--check", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


async def test_at_the_root_only_get_is_the_page(session: aiohttp.ClientSession) -> None:
    async with Emulator(hub="devices") as emulator, session.put(f"http://{emulator.hub.host}/") as response:
        assert response.status == 401
        assert emulator.requests.refused == 1
