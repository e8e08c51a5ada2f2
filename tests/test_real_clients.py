"""Clients that nobody here wrote use the emulated hub: what they store, bulkload reads, and the reverse."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure_notification_hub import AzureNHError, NotificationHubsClient, create_browser_installation

from bulkload.client import Client, Requesting
from bulkload.emulator.dialect import DIALECTS
from bulkload.registration import Handle, Registration, Template, fold
from tests import official_sdk
from tests.official_sdk import OfficialSdk, Refused
from tests.processes import CHANNEL, EmulatedHub, Forks, installation

TOKEN = "00FC13ADFF785122B4AD28809A3420982341241421348097878E577C991DE8F0"
TEMPLATE = {"bodyTemplate": '{"aps": {"alert": "$(message) <&> \u00fc"}}', "templateName": "greeting"}


class Kind(NamedTuple):
    """One push service as the SDK names it: its functions' middle, and a device in a registration and in a query."""

    name: str
    platform: str
    device: dict[str, str]
    query: str


KINDS = [
    Kind("Adm", "adm", {"admRegistrationId": "amzn1.adm-registration.v3.x"}, "adm"),
    Kind("Apple", "apns", {"deviceToken": TOKEN}, "apple"),
    Kind("Baidu", "baidu", {"baiduUserId": "user", "baiduChannelId": "channel"}, "baidu"),
    Kind(
        "Browser",
        "browser",
        {"endpoint": "https://push.example.com/1?x=1&y=a%20b+c", "p256dh": "BLc-4x_p", "auth": "a4th"},
        "browser",
    ),
    Kind("FcmLegacy", "gcm", {"gcmRegistrationId": "legacy:APA91b-x_y"}, "gcm"),
    Kind("FcmV1", "fcmv1", {"fcmV1RegistrationId": "v1:APA91b-x_y"}, "fcmv1"),
    Kind("Windows", "wns", {"channelUri": "https://bn1.notify.windows.com/?token=AgY%2fb+c%3d"}, "windows"),
    Kind("Xiaomi", "xiaomi", {"xiaomiRegistrationId": "xiaomi-x"}, ""),
]

# The SDK asks for Baidu's in a way that is no query, a quote is missing, and for Xiaomi's in none.
ASKED_FOR = [kind for kind in KINDS if kind.query and kind.name != "Baidu"]


@pytest.fixture(scope="session")
def folder(pytestconfig: pytest.Config) -> Path:
    """Where the SDK is installed: once for a lock file and all runs of this checkout's tests."""
    assert pytestconfig.cache is not None
    try:
        return official_sdk.install(pytestconfig.cache.mkdir("clients"))
    except official_sdk.Missing as exc:
        said = f"the official SDK cannot be had: {exc}"
        if os.environ.get(official_sdk.REQUIRED):
            pytest.fail(said)
        pytest.skip(said)


@pytest.fixture(scope="module", params=DIALECTS)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedHub]:
    with EmulatedHub("--tls", "--dialect", request.param, cwd=tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="module")
def sdk(folder: Path, hub: EmulatedHub) -> Iterator[OfficialSdk]:
    with OfficialSdk(folder, hub) as sdk:
        yield sdk


@pytest.fixture
def id_(request: pytest.FixtureRequest) -> str:
    """An id that no other test has: they share a hub."""
    return re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")


def create(sdk: OfficialSdk, kind: Kind, **fields: Any) -> dict[str, Any]:
    """Have the SDK make a registration, and return what it was told of it."""
    template = "Template" if "bodyTemplate" in fields else ""
    made: dict[str, Any] = sdk.call(
        "createRegistration", {**kind.device, **fields}, make=f"create{kind.name}{template}RegistrationDescription"
    )
    return made


def ids(pages: list[list[dict[str, Any]]]) -> list[str]:
    """The registration ids on all pages."""
    return [one["registrationId"] for one in chain.from_iterable(pages)]


def client(hub: EmulatedHub) -> Client:
    return Client(hub.hub, Requesting(ca_file=hub.ca_file))


class Bulkload:
    """The commands in a folder, for one hub."""

    def __init__(self, commands: Forks, hub: EmulatedHub, folder: Path) -> None:
        self._commands = commands
        self._hub = hub
        self._folder = folder

    def run(self, *arguments: str) -> str:
        """Run a command that succeeds, and return what it says."""
        ran = self._commands.run(*arguments, "--ca-file", str(self._hub.ca_file), cwd=self._folder, env=self._hub.env)
        assert ran.code == 0, ran.err
        return ran.out

    def registrations(self, *arguments: str) -> list[Registration]:
        """What `bulkload registrations` writes, read in small pages."""
        lines = self.run("registrations", "--top", "2", *arguments).splitlines()
        return [Registration.of_fields(json.loads(line)) for line in lines]


@pytest.fixture
def bulkload(commands: Forks, hub: EmulatedHub, tmp_path: Path) -> Bulkload:
    return Bulkload(commands, hub, tmp_path)


class TestInstallationsOfTheOfficialSdk:
    @pytest.mark.parametrize("kind", KINDS, ids=[kind.platform for kind in KINDS])
    def test_are_read_back_as_they_were_put(self, sdk: OfficialSdk, id_: str, kind: Kind) -> None:
        device = list(kind.device.values())
        put = {
            "installationId": id_,
            "pushChannel": kind.device if kind.name == "Browser" else "-".join(device),
            "tags": ["news", "lang:en"],
            "userId": "user@example.com",
            "pushVariables": {"name": "Ada"},
        }
        sdk.call("createOrUpdateInstallation", put, make=f"create{kind.name}Installation")
        told = sdk.call("getInstallation", id_)
        assert told["platform"].lower() == kind.platform
        assert {name: told[name] for name in put} == put

    def test_are_overwritten_by_a_second_put(self, sdk: OfficialSdk, id_: str) -> None:
        for tags in (["a", "b"], ["c"]):
            put = {"installationId": id_, "pushChannel": TOKEN, "tags": tags}
            answer = sdk.call("createOrUpdateInstallation", put, make="createAppleInstallation")
            assert answer["trackingId"]
        assert sdk.call("getInstallation", id_)["tags"] == ["c"]

    def test_are_changed_by_patches(self, sdk: OfficialSdk, id_: str) -> None:
        put = {"installationId": id_, "pushChannel": TOKEN, "tags": ["a", "b"], "templates": {"t": {"body": "{}"}}}
        sdk.call("createOrUpdateInstallation", put, make="createAppleInstallation")
        patches = [
            {"op": "add", "path": "/tags", "value": "c"},
            {"op": "remove", "path": "/tags/a"},
            {"op": "replace", "path": "/pushChannel", "value": "00FF"},
            {"op": "add", "path": "/userId", "value": "u1"},
            {"op": "remove", "path": "/templates/t"},
        ]
        sdk.call("updateInstallation", id_, patches)
        told = sdk.call("getInstallation", id_)
        assert (sorted(told["tags"]), told["pushChannel"], told["userId"]) == (["b", "c"], "00FF", "u1")
        assert not told.get("templates")

    def test_are_deleted_whether_they_are_there_or_not(self, sdk: OfficialSdk, id_: str) -> None:
        put = {"installationId": id_, "pushChannel": TOKEN}
        sdk.call("createOrUpdateInstallation", put, make="createAppleInstallation")
        for _ in range(2):
            sdk.call("deleteInstallation", id_)
        with pytest.raises(Refused, match=r"Installation not found\.TrackingId:") as refused:
            sdk.call("getInstallation", id_)
        assert refused.value.status == 404

    def test_are_refused_in_words_where_they_are_of_no_use(self, sdk: OfficialSdk, id_: str) -> None:
        put = {"installationId": id_, "pushChannel": TOKEN, "tags": ["$own"]}
        with pytest.raises(Refused, match="Installation validation failed") as refused:
            sdk.call("createOrUpdateInstallation", put, make="createAppleInstallation")
        assert refused.value.status == 400

    def test_are_refused_to_another_key(self, folder: Path, hub: EmulatedHub, id_: str) -> None:
        wrong = hub.wrong_key_env["BULKLOAD_CONNECTION_STRING"]
        with (
            OfficialSdk(folder, hub, connection_string=wrong) as doubted,
            pytest.raises(Refused, match="invalid signature") as refused,
        ):
            doubted.call("getInstallation", id_)
        assert refused.value.status == 401


class TestRegistrationsOfTheOfficialSdk:
    def test_get_an_id_before_they_are_there(self, sdk: OfficialSdk) -> None:
        first, second = (sdk.call("createRegistrationId") for _ in range(2))
        assert first != second
        assert all(re.fullmatch(r"\d+-\d+-\d+", one) for one in (first, second))
        with pytest.raises(Refused) as refused:
            sdk.call("getRegistration", first)
        assert refused.value.status == 404
        told = {"registrationId": first, "kind": "Apple", "deviceToken": TOKEN, "tags": ["made-with-an-id"]}
        assert sdk.call("createOrUpdateRegistration", told)["registrationId"] == first
        assert sdk.call("getRegistration", first)["tags"] == ["made-with-an-id"]

    @pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
    def test_are_read_back_as_they_were_made(self, sdk: OfficialSdk, kind: Kind) -> None:
        headers = {"wnsHeaders": {"X-WNS-Type": "wns/toast"}} if kind.name == "Windows" else {}
        for fields in ({}, {**TEMPLATE, **headers, "pushVariables": {"name": "Ada"}}):
            wanted = {**kind.device, **fields, "tags": ["a", "b"]}
            made = create(sdk, kind, tags=["a", "b"], **fields)
            told = sdk.call("getRegistration", made["registrationId"])
            for seen in (made, told):
                assert {name: seen.get(name) for name in wanted} == wanted
                assert seen["kind"].endswith("Template") == bool(fields)

    def test_are_changed_only_by_who_knows_their_latest_state(self, sdk: OfficialSdk) -> None:
        made = create(sdk, KINDS[1], tags=["a"])
        changed = sdk.call("updateRegistration", {**made, "tags": ["b"]})
        assert (changed["registrationId"], changed["tags"]) == (made["registrationId"], ["b"])
        with pytest.raises(Refused) as refused:
            sdk.call("updateRegistration", {**made, "tags": ["c"]})
        assert refused.value.status == 412
        sdk.call("createOrUpdateRegistration", {**made, "tags": ["d"]})
        assert sdk.call("getRegistration", made["registrationId"])["tags"] == ["d"]

    def test_are_deleted(self, sdk: OfficialSdk) -> None:
        made = create(sdk, KINDS[1])
        with pytest.raises(Refused) as refused:
            sdk.call("deleteRegistration", made["registrationId"], {"etag": "999"})
        assert refused.value.status == 412
        sdk.call("deleteRegistration", made["registrationId"])
        with pytest.raises(Refused) as refused:
            sdk.call("getRegistration", made["registrationId"])
        assert refused.value.status == 404

    @pytest.mark.parametrize("kind", ASKED_FOR, ids=[kind.name for kind in ASKED_FOR])
    def test_are_found_page_by_page_by_their_channel(self, sdk: OfficialSdk, id_: str, kind: Kind) -> None:
        # A device of this test's own, whose handle keeps the characters that are hard to ask for.
        digits = id_.encode().hex().upper()
        device = {name: f"{value}{digits}" for name, value in kind.device.items()}
        own = kind._replace(device=device)
        made = [create(sdk, own, tags=[f"t{number}"])["registrationId"] for number in range(4)]
        made.append(create(sdk, own, **TEMPLATE)["registrationId"])
        pages = sdk.call("listRegistrationsByChannel", {"kind": kind.query, **device}, {"top": 2})
        assert [len(page) for page in pages] == [2, 2, 1]
        assert sorted(ids(pages)) == sorted(made)
        assert all(device.items() <= one.items() for page in pages for one in page)

    def test_are_found_page_by_page_by_their_tag(self, sdk: OfficialSdk, id_: str) -> None:
        made = [create(sdk, kind, tags=[id_, "other"])["registrationId"] for kind in KINDS]
        pages = sdk.call("listRegistrationsByTag", id_, {"top": 3})
        assert [len(page) for page in pages] == [3, 3, 2]
        assert sorted(ids(pages)) == sorted(made)

    def test_are_all_found_page_by_page(self, sdk: OfficialSdk, id_: str) -> None:
        made = {create(sdk, KINDS[1])["registrationId"] for _ in range(5)}
        pages = sdk.call("listRegistrations", {"top": 2})
        assert {len(page) for page in pages[:-1]} == {2}
        found = ids(pages)
        assert len(set(found)) == len(found)
        assert made <= set(found)

    def test_show_the_installations_too(self, sdk: OfficialSdk, id_: str) -> None:
        templates = {name: {"body": f'{{"aps": "{name}"}}', "tags": [f"tag-of-{name}"]} for name in ("one", "two")}
        put = {"installationId": id_, "pushChannel": TOKEN, "tags": ["own"], "templates": templates}
        sdk.call("createOrUpdateInstallation", put, make="createAppleInstallation")
        pages = sdk.call("listRegistrationsByTag", f"$InstallationId:{{{id_}}}", {"top": 2})
        assert [len(page) for page in pages] == [2, 1]
        told = {one.get("templateName"): one["tags"] for page in pages for one in page}
        assert told.keys() == {None, "one", "two"}
        assert "tag-of-two" in told["two"]


class TestWhatOneStoresTheOtherReads:
    async def test_bulkload_reads_installations_of_the_sdk(
        self, sdk: OfficialSdk, hub: EmulatedHub, bulkload: Bulkload, id_: str
    ) -> None:
        put = {
            "installationId": id_,
            "pushChannel": "AB" * 32,
            "tags": ["a", "b"],
            "userId": "u1",
            "templates": {"t": {"body": '{"aps": "$(m)"}', "tags": ["x"]}},
        }
        sdk.call("createOrUpdateInstallation", put, make="createAppleInstallation")
        async with client(hub) as reader:
            told = await reader.installation(id_)
        assert told is not None
        own = ("installationId", "pushChannel", "tags", "userId")
        assert {name: told[name] for name in own} == {name: put[name] for name in own}
        parts = bulkload.registrations("--tag", f"$InstallationId:{{{id_}}}")
        assert fold(parts).fields == {**put, "platform": "apns"}

    def test_bulkload_reads_registrations_of_the_sdk(self, sdk: OfficialSdk, bulkload: Bulkload, id_: str) -> None:
        made = {
            create(sdk, kind, tags=[id_, "b"], **fields)["registrationId"]: (kind, fields)
            for kind in KINDS
            for fields in ({}, {**TEMPLATE, "pushVariables": {"name": "Ada"}})
        }
        listed = {one.registration_id: one for one in bulkload.registrations("--tag", id_)}
        assert listed.keys() == made.keys()
        for registration_id, (kind, fields) in made.items():
            told = listed[registration_id]
            assert (told.platform, told.tags) == (kind.platform, (id_, "b"))
            assert told.handle is not None
            assert [value for _, value in told.handle.parts] == list(kind.device.values())
            template = Template(body=TEMPLATE["bodyTemplate"], name=TEMPLATE["templateName"]) if fields else None
            assert told.template == template
            assert told.push_variables == fields.get("pushVariables", {})

    def test_bulkload_finds_the_sdk_s_registrations_by_their_channel(
        self, sdk: OfficialSdk, bulkload: Bulkload, id_: str
    ) -> None:
        uri = f"https://bn1.notify.windows.com/?token=AgY%2fb+c'{id_}"
        windows = next(kind for kind in KINDS if kind.name == "Windows")._replace(device={"channelUri": uri})
        made = {create(sdk, windows, tags=[f"t{number}"])["registrationId"] for number in range(3)}
        found = [one.registration_id for one in bulkload.registrations("--channel-uri", uri)]
        assert (len(found), set(found)) == (3, made)

    def test_bulkload_s_ids_are_the_sdk_s_to_use(self, sdk: OfficialSdk, bulkload: Bulkload) -> None:
        [first, second] = bulkload.run("registration-id", "-n", "2").split()
        told = {"kind": "Apple", "deviceToken": TOKEN}
        for registration_id in (first, second):
            made = sdk.call("createOrUpdateRegistration", {**told, "registrationId": registration_id})
            assert made["registrationId"] == registration_id

    async def test_the_sdk_reads_registrations_of_bulkload(self, sdk: OfficialSdk, hub: EmulatedHub, id_: str) -> None:
        native = Registration(kind="Apple", handle=Handle.device_token(TOKEN), tags=(id_, "b"))
        template = Template(body=TEMPLATE["bodyTemplate"], name=TEMPLATE["templateName"])
        async with client(hub) as writer:
            put = [
                await writer.put_registration(one)
                for one in (native, replace(native, kind="AppleTemplate", template=template))
            ]
        first, second = (sdk.call("getRegistration", one.registration_id) for one in put)
        assert (first["kind"], first["deviceToken"], first["tags"]) == ("Apple", TOKEN, [id_, "b"])
        assert second["kind"] == "AppleTemplate"
        assert {name: second[name] for name in TEMPLATE} == TEMPLATE
        assert ids(sdk.call("listRegistrationsByTag", id_)) == [one.registration_id for one in put]

    def test_the_sdk_reads_what_a_load_brought(
        self, sdk: OfficialSdk, bulkload: Bulkload, tmp_path: Path, id_: str
    ) -> None:
        loaded = [f"{id_}-{number}" for number in range(7)]
        lines = (
            installation(one, tags=[id_], userId="u1", templates={"t": {"body": '{"data": "$(m)"}'}}) for one in loaded
        )
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(lines))
        bulkload.run("load", "d.ndjson")
        for one in loaded:
            told = sdk.call("getInstallation", one)
            assert told["platform"].lower() == "gcm"
            assert (told["pushChannel"], told["tags"], told["userId"]) == (f"{CHANNEL}{one}", [id_], "u1")
            assert told["templates"]["t"]["body"] == '{"data": "$(m)"}'
        pages = sdk.call("listRegistrationsByTag", id_, {"top": 4})
        assert [len(page) for page in pages] == [4, 4, 4, 2]
        found = {one["gcmRegistrationId"] for page in pages for one in page}
        assert found == {f"{CHANNEL}{one}" for one in loaded}

    def test_registrations_of_the_sdk_are_migrated_to_an_installation_that_it_reads(
        self, sdk: OfficialSdk, bulkload: Bulkload, tmp_path: Path, id_: str
    ) -> None:
        token = id_.encode().hex().upper()
        device = KINDS[1]._replace(device={"deviceToken": token})
        old = [create(sdk, device, tags=[id_, "native"]), create(sdk, device, tags=["own"], **TEMPLATE)]
        bulkload.run("migrate", "--device-token", token, "-o", "d.ndjson")
        bulkload.run("load", "d.ndjson")
        bulkload.run("migrate", "--delete-old", "d.ndjson", "--loaded", "d.ndjson.ledger")
        [line] = (tmp_path / "d.ndjson").read_text().splitlines()
        told = sdk.call("getInstallation", json.loads(line)["installationId"])
        assert (told["pushChannel"], sorted(told["tags"])) == (token, sorted(["native", id_]))
        assert told["templates"]["greeting"]["body"] == TEMPLATE["bodyTemplate"]
        pages = sdk.call("listRegistrationsByChannel", {"kind": "apple", "deviceToken": token})
        assert [one["kind"] for page in pages for one in page] == ["Apple", "AppleTemplate"]
        for one in old:
            with pytest.raises(Refused) as refused:
                sdk.call("getRegistration", one["registrationId"])
            assert refused.value.status == 404


@pytest.fixture
def unofficial(hub: EmulatedHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotificationHubsClient]:
    """A client of `azure-notification-hub-unofficial`: it believes what OpenSSL's own setting names."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(hub.ca_file))
    with NotificationHubsClient(hub.connection_string, hub.hub.name) as client:
        yield client


class TestTheUnofficialPythonClient:
    def test_puts_gets_and_deletes_an_installation(self, unofficial: NotificationHubsClient, id_: str) -> None:
        channel = {"endpoint": "https://push.example.com/1", "p256dh": "BLc-4x_p", "auth": "a4th"}
        put = create_browser_installation(id_, channel, ["news"])
        assert unofficial.create_or_update_installation(put) == {}
        # It takes what is labeled XML for XML, and the service labels JSON so.
        told = json.loads(unofficial.get_installation(id_)["_raw_xml"])
        assert told["platform"].lower() == "browser"
        assert {name: told[name] for name in ("installationId", "pushChannel", "tags")} == {
            name: put[name] for name in ("installationId", "pushChannel", "tags")
        }
        assert unofficial.delete_installation(id_) == {}
        with pytest.raises(AzureNHError, match="Installation not found") as refused:
            unofficial.get_installation(id_)
        assert refused.value.status_code == 404

    def test_changes_an_installation(self, unofficial: NotificationHubsClient, id_: str) -> None:
        unofficial.create_or_update_installation({"installationId": id_, "platform": "apns", "pushChannel": TOKEN})
        unofficial.update_installation(id_, [{"op": "add", "path": "/tags", "value": "a"}])
        assert json.loads(unofficial.get_installation(id_)["_raw_xml"])["tags"] == ["a"]

    async def test_lists_what_bulkload_made_and_bulkload_reads_what_it_put(
        self, unofficial: NotificationHubsClient, hub: EmulatedHub, bulkload: Bulkload, id_: str
    ) -> None:
        unofficial.create_or_update_installation(
            {"installationId": id_, "platform": "apns", "pushChannel": TOKEN, "tags": ["a"]}
        )
        async with client(hub) as writer:
            made = await writer.put_registration(
                Registration(kind="Gcm", handle=Handle.gcm_registration_id(id_), tags=("a", "b"))
            )
        [part] = bulkload.registrations("--tag", f"$InstallationId:{{{id_}}}")
        assert fold([part]).fields["tags"] == ["a"]
        listed = {one["RegistrationId"]: one for one in unofficial.list_registrations(top=1000)}
        assert listed[part.registration_id]["DeviceToken"] == TOKEN
        told = listed[made.registration_id]
        assert (told["GcmRegistrationId"], told["Tags"]) == (id_, ["a", "b"])
        assert unofficial.get_registration(str(made.registration_id))["GcmRegistrationId"] == id_

    def test_speaks_to_a_hub_without_tls(self, tmp_path: Path, id_: str) -> None:
        with ExitStack() as stack:
            hub = stack.enter_context(EmulatedHub(cwd=tmp_path))
            plain = stack.enter_context(closing(NotificationHubsClient(hub.connection_string, hub.hub.name)))
            plain.create_or_update_installation({"installationId": id_, "platform": "apns", "pushChannel": TOKEN})
            assert [one["DeviceToken"] for one in plain.list_registrations()] == [TOKEN]
