"""Registrations are made, read, changed and deleted as the service has it."""

import re
from collections.abc import AsyncIterator, Callable

import pytest

from bulkload.emulator.behaviour import Behaviour
from bulkload.registration import read
from tests.registering import APPLE, ID, INSTANCE, TOKEN, Registrar, body, hub, typed

TILE = "<SecondaryTileName>tile</SecondaryTileName>"
TEMPLATE = '<BodyTemplate><![CDATA[{"a": "<b>"}]]></BodyTemplate><TemplateName>name</TemplateName>'
HEADERS = "<WnsHeaders><WnsHeader><Header>X-WNS-Type</Header><Value>wns/toast</Value></WnsHeader></WnsHeaders>"


@pytest.fixture
async def client() -> AsyncIterator[Registrar]:
    async with hub() as client:
        yield client


async def test_a_post_makes_a_registration_with_an_id_of_the_service_s_form(client: Registrar) -> None:
    first, second = await client.create(), await client.create()
    assert first != second
    assert re.fullmatch(ID, first)
    assert re.fullmatch(ID, second)
    [told] = read((await client.ask("GET", f"/registrations/{first}")).body)
    assert (told.kind, told.etag, told.registration_id) == ("Apple", "1", first)
    assert told.handle is not None
    assert dict(told.handle.parts) == {"DeviceToken": TOKEN}


@pytest.mark.parametrize(
    ("kind", "inner"),
    [
        ("Apple", APPLE),
        ("AppleTemplate", APPLE + TEMPLATE),
        ("Gcm", "<GcmRegistrationId>g:1</GcmRegistrationId>"),
        ("GcmTemplate", "<GcmRegistrationId>g:1</GcmRegistrationId>" + TEMPLATE),
        ("Fcm", "<GcmRegistrationId>g:1</GcmRegistrationId>"),
        ("FcmV1", "<FcmV1RegistrationId>f:1</FcmV1RegistrationId>"),
        ("FcmV1Template", "<FcmV1RegistrationId>f:1</FcmV1RegistrationId>" + TEMPLATE),
        ("Windows", "<ChannelUri>https://w/?a=1&amp;b=%2f</ChannelUri>" + TILE),
        ("WindowsTemplate", "<ChannelUri>https://w/</ChannelUri>" + TILE + TEMPLATE + HEADERS),
        ("Mpns", "<ChannelUri>https://m/</ChannelUri>"),
        ("MpnsTemplate", "<ChannelUri>https://m/</ChannelUri>" + TEMPLATE + HEADERS.replace("Wns", "Mpns")),
        ("Adm", "<AdmRegistrationId>a</AdmRegistrationId>"),
        ("Baidu", "<BaiduUserId>u</BaiduUserId><BaiduChannelId>c</BaiduChannelId>"),
        ("Browser", "<Endpoint>https://b/</Endpoint><P256DH>p</P256DH><Auth>a</Auth>"),
        ("Xiaomi", "<XiaomiRegistrationId>x</XiaomiRegistrationId>"),
    ],
)
@pytest.mark.parametrize("write", [body, typed])
async def test_every_kind_comes_back_as_it_was_sent_in_either_spelling(
    client: Registrar, kind: str, inner: str, write: Callable[..., bytes]
) -> None:
    inner = f'<Tags>one, two</Tags><PushVariables>{{"v":"1"}}</PushVariables>{inner}'
    [sent] = read(body(inner, kind=kind))
    id_ = await client.create(write(inner, kind=kind))
    [told] = read((await client.ask("GET", f"/registrations/{id_}")).body)
    assert told.kind == kind
    for name in ("handle", "tags", "push_variables", "template", "secondary_tile"):
        assert getattr(told, name) == getattr(sent, name)


async def test_a_device_token_is_stored_and_told_in_upper_case(client: Registrar) -> None:
    await client.create(body("<DeviceToken>00fc13ad</DeviceToken>"))
    [told] = await client.listed("&$filter=DeviceToken eq '00FC13AD'".replace(" ", "+"))
    assert told.handle is not None
    assert dict(told.handle.parts) == {"DeviceToken": "00FC13AD"}
    assert await client.found("DeviceToken eq '00fc13ad'") == []


async def test_a_put_makes_and_changes_under_any_id_and_counts(client: Registrar) -> None:
    for etag, tags in (("1", "a"), ("2", "b"), ("3", "c")):
        reply = await client.write("my-own.id_1", body(f"<Tags>{tags}</Tags>{APPLE}"))
        [told] = read(reply.body)
        assert (reply.status, told.etag, told.registration_id, told.tags) == (200, etag, "my-own.id_1", (tags,))
        assert reply.headers["ETag"] == f'W/"{etag}"'
    assert len(await client.listed()) == 1
    assert await client.listed(path="/tags/a/registrations") == []
    assert len(await client.listed(path="/tags/c/registrations")) == 1


async def test_a_put_that_changes_the_handle_is_found_by_the_new_one_only(client: Registrar) -> None:
    await client.write("1")
    await client.write("1", body("<GcmRegistrationId>g</GcmRegistrationId>", kind="Gcm"))
    assert await client.found("GcmRegistrationId eq 'g'") == ["1"]
    assert await client.found(f"DeviceToken eq '{TOKEN}'") == []


@pytest.mark.parametrize("if_match", ["*", 'W/"2"', '"2"', "2", 'W/"9", W/"2"'])
async def test_a_condition_that_holds_lets_a_change_pass(client: Registrar, if_match: str) -> None:
    await client.write("1")
    await client.write("1")
    assert (await client.write("1", if_match=if_match)).headers["ETag"] == 'W/"3"'


@pytest.mark.parametrize("if_match", ['W/"1"', '"1"', "", "3", "no etag at all"])
async def test_a_condition_that_does_not_hold_is_answered_412(client: Registrar, if_match: str) -> None:
    await client.write("1")
    await client.write("1")
    assert (await client.write("1", if_match=if_match)).status == 412
    assert (await client.remove("1", if_match=if_match)).status == 412
    assert (await client.ask("GET", "/registrations/1")).headers["ETag"] == 'W/"2"'


@pytest.mark.parametrize("if_match", ["*", 'W/"1"'])
async def test_a_condition_on_what_is_not_there_is_answered_404_without_a_word(
    client: Registrar, if_match: str
) -> None:
    for reply in (await client.write("1", if_match=if_match), await client.remove("1", if_match=if_match)):
        assert (reply.status, reply.detail) == (404, "")
    assert await client.listed() == []


async def test_what_is_not_there_is_answered_404_without_a_word(client: Registrar) -> None:
    reply = await client.ask("GET", "/registrations/1-2-3")
    assert (reply.status, reply.detail) == (404, "")


async def test_a_delete_is_answered_200_with_nothing_in_it(client: Registrar) -> None:
    id_ = await client.create()
    reply = await client.remove(id_)
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, b"", "0")
    assert "Content-Type" not in reply.headers
    assert await client.listed() == []
    assert await client.found(f"DeviceToken eq '{TOKEN}'") == []
    assert (await client.remove(id_)).status == 404


async def test_a_delete_without_a_condition_is_answered_400(client: Registrar) -> None:
    id_ = await client.create()
    assert (await client.remove(id_, if_match=None)).status == 400
    assert len(await client.listed()) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (body("<Tags>a</Tags>"), "Value cannot be null.\r\nParameter name: deviceToken"),
        (body(kind="Gcm"), "Value cannot be null.\r\nParameter name: gcmRegistrationId"),
        (
            body(kind="Baidu", inner="<BaiduUserId>u</BaiduUserId>"),
            "Value cannot be null.\r\nParameter name: baiduUserId",
        ),
        (body(kind="AppleTemplate"), "Value cannot be null.\r\nParameter name: bodyTemplate"),
        (
            body(f"<Tags>a,b c</Tags>{APPLE}"),
            "An invalid tag 'b c' was supplied. Valid tag characters are alphanumeric, _, @, -, ., : and #",
        ),
        (
            body(f"<Tags>{'a' * 121}</Tags>{APPLE}"),
            f"An invalid tag '{'a' * 121}' was supplied. Valid tag characters are alphanumeric, _, @, -, ., : and #",
        ),
        (body(f"<Tags>a,$UserId:{{b}}</Tags>{APPLE}"), "Tags can not start with $"),
        (body(kind="Fax"), "The supplied registration payload is invalid: 'Fax' is no kind of registration"),
        (b"{}", "The supplied registration payload is invalid: it is not XML"),
        (b"", "The supplied registration payload is invalid: it is empty"),
        (b"<entry/>", "The supplied registration payload is invalid: 'unknown' is no kind of registration"),
        (b"<feed/>", "The supplied registration payload is invalid: it holds 0 registrations, not one"),
        (b"<x/>", "The supplied registration payload is invalid: it is XML of another kind"),
        (b"<!DOCTYPE x><entry/>", "The supplied registration payload is invalid: its XML declares a DTD or an entity"),
    ],
)
async def test_what_is_no_registration_is_refused_in_the_service_s_words(
    client: Registrar, data: bytes, words: str
) -> None:
    posted = await client.ask("POST", "/registrations", data=data)
    put = await client.ask("PUT", "/registrations/1", data=data)
    for reply in (posted, put):
        assert reply.status == 400
        assert reply.detail.startswith(words)
    assert await client.listed() == []


async def test_a_body_template_of_a_native_registration_is_left_out(client: Registrar) -> None:
    await client.write("1", body(APPLE + TEMPLATE))
    [told] = await client.listed()
    assert told.template is None


async def test_a_time_to_expire_of_its_own_is_kept_and_told_without_its_zone_when_written(client: Registrar) -> None:
    sent = body(f"<ExpirationTime>2031-01-01T00:00:00.5Z</ExpirationTime>{APPLE}")
    assert b"<ExpirationTime>2031-01-01T00:00:00.5</ExpirationTime>" in (await client.write("1", sent)).body
    assert (
        b"<ExpirationTime>2031-01-01T00:00:00.5Z</ExpirationTime>" in (await client.ask("GET", "/registrations/1")).body
    )


async def test_what_xml_has_signs_for_survives(client: Registrar) -> None:
    text = "]]> & <\r\n\t\"'é\U0001f600"
    variables = '{"a":"&amp;&lt;]]&gt;"}'
    template = text.replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#xD;<![CDATA[")
    inner = f"<PushVariables>{variables}</PushVariables>{APPLE}<BodyTemplate><![CDATA[{template}]]></BodyTemplate>"
    await client.write("1", body(inner, kind="AppleTemplate"))
    [told] = await client.listed()
    assert told.template is not None
    assert told.template.body == text
    assert told.push_variables == {"a": "&<]]>"}


async def test_what_is_nil_is_nothing(client: Registrar) -> None:
    nothing = f'<RegistrationId xmlns:i="{INSTANCE}" i:nil="true" /><Tags xmlns:i="{INSTANCE}" i:nil="true"/>'
    id_ = await client.create(body(nothing + APPLE))
    [told] = await client.listed()
    assert (told.registration_id, told.tags) == (id_, ())


@pytest.mark.parametrize("path", ["/registrationIDs", "/registrationids/", "/REGISTRATIONIDS", "/registrationIDs/"])
async def test_an_id_is_made_without_its_registration(client: Registrar, path: str) -> None:
    reply = await client.ask("POST", path, query="?api-version=2017-04")
    assert (reply.status, reply.body) == (201, b"")
    match = re.fullmatch(rf"{client.hub.url}/registrationids/({ID})\?api-version=2017-04", reply.headers["Location"])
    assert match is not None
    id_ = match[1]
    assert reply.headers["Content-Location"] == f"{client.hub.url}/registrations/{id_}?api-version=2017-04"
    assert (await client.ask("GET", f"/registrations/{id_}")).status == 404
    assert (await client.write(id_)).headers["ETag"] == 'W/"1"'


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/registrations/1", "DELETE, GET, PUT"),
        ("PUT", "/registrations", "GET, POST"),
        ("DELETE", "/registrations/", "GET, POST"),
        ("GET", "/registrationids", "POST"),
        ("POST", "/tags/a/registrations", "GET"),
    ],
)
async def test_a_method_that_has_no_meaning_is_answered_405(
    client: Registrar, method: str, path: str, allowed: str
) -> None:
    reply = await client.ask(method, path, headers={"If-Match": "*"})
    assert (reply.status, reply.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "path", ["/registrations/1/2", "/registrationids/1", "/tags/a", "/tags//registrations", "/tags/a/b/c"]
)
async def test_an_address_of_nothing_is_answered_404(client: Registrar, path: str) -> None:
    reply = await client.ask("GET", path)
    assert (reply.status, reply.detail) == (404, "No service is hosted at the specified address.")


async def test_a_quota_counts_registrations_and_installations_together() -> None:
    async with hub(behaviour=Behaviour(quota=2)) as client:
        assert (await client.put()).status == 200
        id_ = await client.create()
        for refused in (
            await client.ask("POST", "/registrations", data=body()),
            await client.write("1"),
            await client.put({"installationId": "a2", "platform": "gcm", "pushChannel": "g"}),
        ):
            assert refused.status == 403
            assert refused.detail.startswith("Quota exceeded: this namespace has too many ")
        # What is there may be written again, and what an installation shows as is no registration more.
        assert len(await client.listed()) == 2
        assert (await client.write(id_)).status == 200
        assert (await client.put()).status == 200
        await client.remove(id_)
        assert (await client.write("1")).status == 200


async def test_every_call_is_counted(client: Registrar) -> None:
    id_ = await client.create()
    await client.ask("POST", "/registrationids")
    await client.write(id_)
    await client.listed()
    await client.ask("GET", f"/registrations/{id_}")
    await client.remove(id_)
    await client.remove(id_)
    counted = client.emulator.requests
    assert (counted.seen, counted.created, counted.accepted, counted.read, counted.deleted, counted.refused) == (
        *(7, 2, 1, 2, 1, 1),
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/registrations"),
        ("GET", "/registrations"),
        ("POST", "/registrationids"),
        ("GET", "/tags/a/registrations"),
    ],
)
@pytest.mark.parametrize("dialect", ["2018", "2023"])
async def test_a_policy_that_may_only_listen_and_a_token_of_nobody_are_refused(
    dialect: str, method: str, path: str
) -> None:
    async with hub(dialect=dialect) as client:
        refused = await client.ask(method, path, authorization=client.token(key="another"))
        assert refused.status == 401
        listening = client.emulator.listen_connection_string
        client.hub = type(client.hub).from_connection_string(listening)
        refused = await client.ask(method, path, data=body() if method == "POST" else None)
        assert (refused.status, refused.body) == (403, b"")
