"""Both front ends' answers, byte for byte as recorded but for ids, times, and where the hub is.

The recordings are of 2018 to 2020 (the .NET client's), of 2022 and of 2023 (the JavaScript client's); the values here
are our own.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bulkload.emulator import Emulator
from bulkload.emulator.dialect import DIALECTS
from bulkload.errors import InputError
from tests.registering import APPLE, TOKEN, Registrar, body, hub

QUERY = "?api-version=2017-04"

TEMPLATE = (
    f'<Tags>tag1</Tags>{APPLE}<BodyTemplate><![CDATA[{{"aps":1}}]]></BodyTemplate><TemplateName>T n</TemplateName>'
)
INSTALLATION: dict[str, Any] = {
    "installationId": "a1",
    "platform": "apns",
    "pushChannel": TOKEN,
    "tags": ["tag1"],
    "pushVariables": {"var1": "value1"},
    "templates": {"T n": {"body": '{"aps":1}', "expiry": "2018-11-07T16:18:32.6641371-08:00"}},
}

# What the front ends say around the same, by their names.
OLDER = {
    "alone": (
        'a:etag="W/&quot;ETAG&quot;" xmlns="http://www.w3.org/2005/Atom" '
        'xmlns:a="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"'
    ),
    "listed": ('a:etag="W/&quot;ETAG&quot;" xmlns:a="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"'),
    "declared": (
        'xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect" '
        'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
    ),
    "end": "/>",
    "found": "registrations",
    "never": "9999-12-31T23:59:59.999",
}
NEWER = {
    "alone": (
        'p1:etag="W/&quot;ETAG&quot;" xmlns:p1="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" '
        'xmlns="http://www.w3.org/2005/Atom"'
    ),
    "listed": (
        'p2:etag="W/&quot;ETAG&quot;" xmlns:p2="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"'
    ),
    "declared": (
        'xmlns:i="http://www.w3.org/2001/XMLSchema-instance" '
        'xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"'
    ),
    "end": " />",
    "found": "resources",
    "never": "9999-12-31T23:59:59.9999999",
}
WORDS = {"2018": OLDER, "2023": NEWER}

ENTRY_TYPE = "application/atom+xml; type=entry; charset=utf-8"
FEED_TYPE = "application/atom+xml; type=feed; charset=utf-8"


def entry(words: dict[str, str], attributes: str, url: str, description: str, *, etag: str = "1") -> str:
    return (
        f"<entry {words[attributes].replace('ETAG', etag)}><id>{url}</id>"
        f'<title type="text">ID</title><published>TIME</published><updated>TIME</updated>'
        f'<link rel="self" href="{url}"{words["end"]}<content type="application/xml">{description}</content></entry>'
    )


def feed(words: dict[str, str], url: str, *entries: str) -> str:
    return (
        f'<feed xmlns="http://www.w3.org/2005/Atom"><title type="text">Registrations</title><id>{url}</id>'
        f'<updated>TIME</updated><link rel="self" href="{url}"{words["end"]}{"".join(entries)}</feed>'
    )


def apple(words: dict[str, str], expires: str, *, tags: str = "tag1", variables: str = "", etag: str = "1") -> str:
    return (
        f"<AppleRegistrationDescription {words['declared']}><ETag>{etag}</ETag>"
        f"<ExpirationTime>{expires}</ExpirationTime><RegistrationId>ID</RegistrationId><Tags>{tags}</Tags>{variables}"
        f"<DeviceToken>{TOKEN}</DeviceToken></AppleRegistrationDescription>"
    )


def template(words: dict[str, str], expires: str, *, tags: str, expiry: str, variables: str = "") -> str:
    return (
        f"<AppleTemplateRegistrationDescription {words['declared']}><ETag>1</ETag>"
        f"<ExpirationTime>{expires}</ExpirationTime><RegistrationId>ID</RegistrationId><Tags>{tags}</Tags>{variables}"
        f'<DeviceToken>{TOKEN}</DeviceToken><BodyTemplate><![CDATA[{{"aps":1}}]]></BodyTemplate>{expiry}'
        f"<TemplateName>T n</TemplateName><ApnsHeaders{words['end']}</AppleTemplateRegistrationDescription>"
    )


@pytest.fixture(params=["2018", "2023"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Registrar]:
    async with hub(dialect=request.param) as client:
        yield client


async def test_a_registration_that_is_made(client: Registrar) -> None:
    words = WORDS[client.dialect]
    reply = await client.ask("POST", "/registrations/", query=QUERY, data=body(f"<Tags>tag1</Tags>{APPLE}"))
    text = reply.body.decode()
    url = f"HUB/registrations/ID{QUERY}"
    assert client.masked(text) == entry(words, "alone", url, apple(words, words["never"]))
    assert reply.headers["Content-Type"] == ENTRY_TYPE
    has_headers = client.dialect == "2018"
    assert reply.headers.get("ETag") == ('W/"1"' if has_headers else None)
    where = reply.headers.get("Content-Location")
    assert (client.masked(where) if where is not None else None) == (url if has_headers else None)


async def test_a_registration_that_is_changed(client: Registrar) -> None:
    words = WORDS[client.dialect]
    id_ = await client.create()
    reply = await client.ask("PUT", f"/registrations/{id_}", query=QUERY, data=body(f"<Tags>tag1</Tags>{APPLE}"))
    described = apple(words, words["never"], etag="2")
    text = entry(words, "alone", f"HUB/registrations/ID{QUERY}", described, etag="2")
    assert client.masked(reply.body.decode()) == text
    assert reply.headers["Content-Type"] == ENTRY_TYPE
    assert reply.headers.get("ETag") == ('W/"2"' if client.dialect == "2018" else None)
    assert "Content-Location" not in reply.headers


async def test_a_registration_that_is_read(client: Registrar) -> None:
    words = WORDS[client.dialect]
    id_ = await client.create(body(TEMPLATE, kind="AppleTemplate"))
    reply = await client.ask("GET", f"/registrations/{id_}", query=QUERY)
    nil = f'<Expiry i:nil="true"{words["end"]}'
    described = template(words, f"{words['never']}Z", tags="tag1", expiry=nil)
    assert client.masked(reply.body.decode()) == entry(words, "alone", f"HUB/{words['found']}/ID{QUERY}", described)
    assert reply.headers["Content-Type"] == (ENTRY_TYPE if client.dialect == "2018" else "application/xml")
    assert reply.headers.get("ETag") == ('W/"1"' if client.dialect == "2018" else None)


async def test_an_empty_list(client: Registrar) -> None:
    words = WORDS[client.dialect]
    reply = await client.ask("GET", "/registrations/", query=f"{QUERY}&$top=100")
    assert client.masked(reply.body.decode()) == feed(words, f"HUB/{words['found']}{QUERY}&amp;$top=100")
    assert reply.headers["Content-Type"] == (FEED_TYPE if client.dialect == "2018" else "application/xml")
    assert "ETag" not in reply.headers


async def test_a_list_of_a_channel_s_registrations(client: Registrar) -> None:
    words = WORDS[client.dialect]
    await client.create(body(f"<Tags>tag1</Tags>{APPLE}"))
    query = f"{QUERY}&$filter=ChannelUri+eq+%27{TOKEN}%27&$top=100"
    reply = await client.ask("GET", "/registrations", query=query)
    told = query.replace("&", "&amp;")
    url = f"HUB/{words['found']}"
    described = apple(words, f"{words['never']}Z")
    assert client.masked(reply.body.decode()) == feed(
        words, f"{url}{told}", entry(words, "listed", f"{url}/ID{told}", described)
    )


async def test_a_list_by_tag_stands_under_its_tag_in_the_older_one(client: Registrar) -> None:
    words = WORDS[client.dialect]
    await client.create(body(f"<Tags>tag1</Tags>{APPLE}"))
    reply = await client.ask("GET", "/tags/tag%31/registrations", query=QUERY)
    url = "HUB/tags/tag%31/registrations" if client.dialect == "2018" else "HUB/resources"
    described = apple(words, f"{words['never']}Z")
    assert client.masked(reply.body.decode()) == feed(
        words, f"{url}{QUERY}", entry(words, "listed", f"{url}/ID{QUERY}", described)
    )


async def test_a_list_of_an_installation(client: Registrar) -> None:
    words = WORDS[client.dialect]
    await client.put(INSTALLATION)
    reply = await client.ask("GET", "/registrations", query=QUERY)
    never = "9999-12-31T23:59:59.9999999Z"
    variables = '<PushVariables>{"var1":"value1"}</PushVariables>'
    expiry = "<Expiry>2018-11-07T16:18:32.6641371-08:00</Expiry>"
    url = f"HUB/{words['found']}"
    native = apple(words, never, tags="$InstallationId:{a1},tag1", variables=variables)
    own = template(words, never, tags="$InstallationId:{a1},tag1,T n", variables=variables, expiry=expiry)
    assert client.masked(reply.body.decode()) == feed(
        words,
        f"{url}{QUERY}",
        *(entry(words, "listed", f"{url}/ID{QUERY}", described) for described in (native, own)),
    )


async def test_a_list_that_goes_on_has_a_link_in_which_the_token_is_encoded_once_more(client: Registrar) -> None:
    words = WORDS[client.dialect]
    for _ in range(2):
        await client.create()
    reply = await client.ask("GET", "/registrations", query=f"{QUERY}&$top=1")
    token = reply.headers["x-ms-continuationtoken"]
    assert "%2B" in token
    assert token.endswith("%3D%3D")
    link = (
        f'<link rel="next" href="HUB/{words["found"]}{QUERY}&amp;%24top=1'
        f'&amp;continuationtoken={token.replace("%", "%25")}"{words["end"]}<entry '
    )
    assert link in client.masked(reply.body.decode())
    goes_on = await client.ask("GET", "/registrations", query=f"{QUERY}&$top=1&continuationtoken={token}")
    url = f"HUB/{words['found']}{QUERY}&amp;$top=1&amp;continuationtoken={token}"
    assert client.masked(goes_on.body.decode()).count(f"<id>{url}</id>") == 1
    assert b'rel="next"' not in goes_on.body


@pytest.mark.parametrize(
    ("kind", "inner", "described"),
    [
        (
            "WindowsTemplate",
            (
                "<ChannelUri>https://some.url/</ChannelUri><SecondaryTileName>Tile name</SecondaryTileName>"
                "<BodyTemplate><![CDATA[<toast/>]]></BodyTemplate><WnsHeaders><WnsHeader><Header>X-WNS-Type</Header>"
                "<Value>wns/toast</Value></WnsHeader></WnsHeaders><TemplateName>T n</TemplateName>"
            ),
            None,
        ),
        (
            "MpnsTemplate",
            (
                "<ChannelUri>https://some.url/</ChannelUri><BodyTemplate><![CDATA[<x/>]]></BodyTemplate><MpnsHeaders>"
                "<MpnsHeader><Header>X-NotificationClass</Header><Value>1</Value></MpnsHeader><MpnsHeader>"
                "<Header>X-WindowsPhone-Target</Header><Value>token</Value></MpnsHeader></MpnsHeaders>"
                "<TemplateName>T n</TemplateName>"
            ),
            None,
        ),
        (
            "BaiduTemplate",
            (
                "<BaiduUserId>userId</BaiduUserId><BaiduChannelId>channelId</BaiduChannelId>"
                '<BodyTemplate><![CDATA[{"title":"Title"}]]></BodyTemplate><TemplateName>T n</TemplateName>'
            ),
            None,
        ),
        ("Gcm", "<GcmRegistrationId>amzn1.adm</GcmRegistrationId>", None),
        ("Adm", "<AdmRegistrationId>amzn1.adm</AdmRegistrationId>", None),
        (
            "Windows",
            "<SecondaryTileName>Tile</SecondaryTileName><ChannelUri>https://some.url/?a&amp;b</ChannelUri>",
            "<ChannelUri>https://some.url/?a&amp;b</ChannelUri><SecondaryTileName>Tile</SecondaryTileName>",
        ),
    ],
)
async def test_every_kind_is_told_in_the_service_s_order(
    client: Registrar, kind: str, inner: str, described: str | None
) -> None:
    words = WORDS[client.dialect]
    first = '<Tags>tag1</Tags><PushVariables>{"var1":"value1"}</PushVariables>'
    reply = await client.ask("POST", "/registrations", data=body(first + inner, kind=kind))
    name = f"{kind}RegistrationDescription"
    assert (
        f'<content type="application/xml"><{name} {words["declared"]}><ETag>1</ETag>'
        f"<ExpirationTime>{words['never']}</ExpirationTime><RegistrationId>ID</RegistrationId>"
        f"{first}{described or inner}</{name}></content></entry>"
    ) in client.masked(reply.body.decode())


async def test_an_id_that_is_made(client: Registrar) -> None:
    reply = await client.ask("POST", "/registrationIDs", query=QUERY)
    query, type_ = (QUERY, None) if client.dialect == "2018" else ("", ENTRY_TYPE)
    assert client.masked(reply.headers["Location"]) == f"HUB/registrationids/ID{query}"
    assert client.masked(reply.headers["Content-Location"]) == f"HUB/registrations/ID{query}"
    assert reply.headers.get("Content-Type") == type_
    assert (reply.status, reply.body) == (201, b"")


async def test_an_installation(client: Registrar) -> None:
    await client.put(INSTALLATION | {"userId": None})
    reply = await client.ask("GET")
    begins = {
        "2018": f'"installationId":"a1","pushChannel":"{TOKEN}","pushChannelExpired":false,"platform":"apns"',
        "2023": f'"platform":"Apns","pushChannel":"{TOKEN}","installationId":"a1","pushChannelExpired":false',
    }
    assert reply.body.decode() == (
        f'{{{begins[client.dialect]},"expirationTime":"9999-12-31T23:59:59.9999999Z","tags":["tag1"],'
        '"pushVariables":{"var1":"value1"},"templates":{"T n":{"body":"{\\"aps\\":1}",'
        '"expiry":"2018-11-07T16:18:32.6641371-08:00","tags":["T n"]}}}'
    )


@pytest.mark.parametrize(
    ("platform", "older", "newer"),
    [("gcm", "gcm", "Gcm"), ("APNS", "apns", "Apns"), ("fcmv1", "fcmv1", "FcmV1")],
)
async def test_a_platform_is_spelled_as_the_front_end_spells_it(
    client: Registrar, platform: str, older: str, newer: str
) -> None:
    await client.put({"installationId": "a1", "platform": platform, "pushChannel": "00ff"})
    spelled = older if client.dialect == "2018" else newer
    assert f'"platform":"{spelled}"'.encode() in (await client.ask("GET")).body


async def test_the_front_end_says_what_it_is(client: Registrar) -> None:
    server = {"2018": "Microsoft-HTTPAPI/2.0", "2023": "Kestrel"}[client.dialect]
    for reply in (await client.ask("GET", "/registrations"), await client.put(), await client.ask("GET", "/nothing")):
        assert reply.headers["Server"] == server


def test_a_front_end_that_is_none_is_refused() -> None:
    assert set(DIALECTS) == set(WORDS)
    with pytest.raises(InputError, match=r"^--dialect is 2018 or 2023, not 2020$"):
        Emulator(hub="devices", dialect="2020")
