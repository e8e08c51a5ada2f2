"""Lists of registrations: all of them, by channel, by tag, and page by page."""

from collections.abc import AsyncIterator
from urllib.parse import quote, quote_plus, unquote

import pytest

from bulkload.registration import Handle, read
from tests.registering import APPLE, TOKEN, Registrar, body, hub

URI = "https://bn1.notify.windows.com/?token=AgY%2fb+c%2B'd'&x=1"

# By their ids: what they are, and the filter that names their handle.
HANDLES = {
    "apple": ("Apple", {"DeviceToken": TOKEN}),
    "windows": ("Windows", {"ChannelUri": URI}),
    "mpns": ("Mpns", {"ChannelUri": "https://m/"}),
    "gcm": ("Gcm", {"GcmRegistrationId": "g:1"}),
    "fcmv1": ("FcmV1", {"FcmV1RegistrationId": "f:1"}),
    "adm": ("Adm", {"AdmRegistrationId": "amzn1.x"}),
    "xiaomi": ("Xiaomi", {"XiaomiRegistrationId": "x/+=="}),
    "baidu": ("Baidu", {"BaiduUserId": "u", "BaiduChannelId": "c"}),
    "browser": ("Browser", {"Endpoint": "https://e/1?x=1", "P256DH": "p", "Auth": "a"}),
}

NO_QUERY = "Notification hubs do not support this query"


def filter_of(handle: dict[str, str]) -> str:
    return " and ".join(f"{name} eq '{value.replace(chr(39), chr(39) * 2)}'" for name, value in handle.items())


def elements(handle: dict[str, str]) -> str:
    return "".join(f"<{name}>{value.replace('&', '&amp;')}</{name}>" for name, value in handle.items())


@pytest.fixture
async def client() -> AsyncIterator[Registrar]:
    async with hub() as client:
        yield client


@pytest.fixture
async def full(client: Registrar) -> Registrar:
    for id_, (kind, handle) in HANDLES.items():
        await client.write(id_, body(elements(handle), kind=kind))
    return client


async def ids(client: Registrar, more: str, **options: str) -> list[str | None]:
    return [one.registration_id for one in await client.listed(more, **options)]


@pytest.mark.parametrize("id_", HANDLES)
async def test_every_handle_finds_its_own_registration_by_either_family_of_filters(full: Registrar, id_: str) -> None:
    handle = HANDLES[id_][1]
    assert await full.found(filter_of(handle)) == [id_]
    assert await full.found(filter_of(dict(reversed(handle.items())))) == [id_]
    assert await full.found(filter_of({"ChannelUri": Handle(tuple(handle.items())).key})) == [id_]
    assert await ids(full, f"&$filter={Handle(tuple(handle.items())).filter}") == [id_]
    assert await full.found(filter_of(handle).replace("eq '", "eq 'no")) == []


async def test_a_name_finds_nothing_that_is_called_otherwise(client: Registrar) -> None:
    await client.write("1", body("<GcmRegistrationId>same</GcmRegistrationId>", kind="Gcm"))
    await client.write("2", body("<AdmRegistrationId>same</AdmRegistrationId>", kind="Adm"))
    assert await client.found("GcmRegistrationId eq 'same'") == ["1"]
    assert await client.found("AdmRegistrationId eq 'same'") == ["2"]
    assert await client.found("ChannelUri eq 'same'") == ["1", "2"]


async def test_a_channel_has_all_its_registrations_in_the_order_in_which_they_came(client: Registrar) -> None:
    template = f"{APPLE}<BodyTemplate>{{}}</BodyTemplate>"
    for id_ in ("c", "a", "b"):
        await client.write(id_, body(template, kind="AppleTemplate"))
    await client.write("c", body(APPLE))
    assert await client.found(f"DeviceToken eq '{TOKEN}'") == ["c", "a", "b"]


@pytest.mark.parametrize(
    "written",
    [
        "ChannelUri%20eq%20%27https%3A%2F%2Fw%2F%3Ft%3DAgY%252fb%2Bc%27",
        "ChannelUri+eq+%27https%3A%2F%2Fw%2F%3Ft%3DAgY%252fb%2Bc%27",
        "ChannelUri+eq+%27https%3a%2f%2fw%2f%3ft%3dAgY%252fb%2bc%27",
        "ChannelUri+eq+'https://w/?t=AgY%252fb%2Bc'",
        # One of the service's clients encodes a handle by itself as well.
        "ChannelUri+eq+%27https%253A%252F%252Fw%252F%253Ft%253DAgY%25252fb%252Bc%27",
    ],
)
@pytest.mark.parametrize("name", ["$filter", "%24filter", "%24Filter"])
async def test_a_filter_is_read_however_it_is_encoded(client: Registrar, name: str, written: str) -> None:
    await client.write("1", body("<ChannelUri>https://w/?t=AgY%2fb+c</ChannelUri>", kind="Windows"))
    await client.write("2", body("<ChannelUri>https://w/?t=AgY%2fb c</ChannelUri>", kind="Windows"))
    assert await ids(client, f"&{name}={written}") == ["1"]


async def test_a_plus_that_is_not_encoded_is_a_space(full: Registrar) -> None:
    assert await ids(full, "&$filter=XiaomiRegistrationId eq 'x/+=='".replace(" ", "+")) == []
    assert await ids(full, "&$filter=XiaomiRegistrationId+eq+'x/%2B=='") == ["xiaomi"]


@pytest.mark.parametrize(
    "filter_",
    [
        "",
        "x",
        "DeviceToken",
        "DeviceToken eq 1",
        "DeviceToken ne 'a'",
        "DeviceToken eq 'a' or DeviceToken eq 'b'",
        "BaiduUserId eq 'u'",
        "BaiduChannelId eq C' and BaiduUserId eq 'U'",
        "Tags eq 'a'",
        "startswith(ChannelUri, 'a')",
        "GcmRegistrationId eq 'g' and AdmRegistrationId eq 'a'",
        "ChannelUri eq 'a'b'",
    ],
)
async def test_another_filter_is_refused_in_the_words_of_the_specification(full: Registrar, filter_: str) -> None:
    reply = await full.ask("GET", "/registrations", query=f"?api-version=2015-01&$filter={quote(filter_)}")
    assert (reply.status, reply.detail) == (400, NO_QUERY)


async def test_a_filter_on_a_tag_s_list_is_refused(full: Registrar) -> None:
    query = f"?api-version=2015-01&$filter={quote(filter_of({'ChannelUri': 'a'}))}"
    assert (await full.ask("GET", "/tags/a/registrations", query=query)).detail == NO_QUERY


@pytest.mark.parametrize("path", ["/registrations", "/registrations/", "/Registrations", "/REGISTRATIONS/"])
async def test_all_are_listed_in_the_order_in_which_they_came(full: Registrar, path: str) -> None:
    assert await ids(full, "", path=path) == list(HANDLES)


@pytest.mark.parametrize("tag", ["one", "a:b", "x@y.z", "#_-"])
async def test_a_tag_lists_what_bears_it(client: Registrar, tag: str) -> None:
    await client.write("1", body(f"<Tags>{tag}</Tags>{APPLE}"))
    await client.write("2", body(f"<Tags>other,{tag},{tag}</Tags>{APPLE}"))
    await client.write("3", body(f"<Tags>{tag}2</Tags>{APPLE}"))
    for collection in ("registrations", "Registrations/"):
        for written in (quote(tag, safe=""), quote(tag)):
            assert await ids(client, "", path=f"/tags/{written}/{collection}") == ["1", "2"]
    assert await ids(client, "", path="/TAGS/none/registrations") == []


@pytest.mark.parametrize("name", ["ContinuationToken", "continuationtoken", "CONTINUATIONTOKEN"])
@pytest.mark.parametrize("path", ["/registrations", "/tags/t/registrations"])
@pytest.mark.parametrize("top", [1, 2, 3, 4, 5])
async def test_a_list_goes_on_with_its_token_as_it_came(client: Registrar, top: int, path: str, name: str) -> None:
    for number in range(4):
        await client.write(str(number), body(f"<Tags>t</Tags>{APPLE}"))
    found: list[str | None] = []
    token, pages = None, 0
    while pages == 0 or token is not None:
        goes_on = "" if token is None else f"&{name}={token}"
        reply = await client.ask("GET", path, query=f"?api-version=2017-04&$top={top}{goes_on}")
        found += [one.registration_id for one in read(reply.body)]
        token = reply.headers.get("x-ms-continuationtoken")
        pages += 1
    assert found == ["0", "1", "2", "3"]
    assert pages == -(-4 // top), "the last page has no token, and none is empty"


async def test_a_channel_s_list_goes_on_too(client: Registrar) -> None:
    for number in range(3):
        await client.write(str(number))
    query = f"?api-version=2017-04&$top=2&$filter={quote(f'DeviceToken eq {chr(39)}{TOKEN}{chr(39)}')}"
    token = (await client.ask("GET", "/registrations", query=query)).headers["x-ms-continuationtoken"]
    reply = await client.ask("GET", "/registrations", query=f"{query}&ContinuationToken={token}")
    assert [one.registration_id for one in read(reply.body)] == ["2"]


async def test_pages_stay_as_they_are_while_others_come_and_go(client: Registrar) -> None:
    for number in range(6):
        await client.write(str(number))
    reply = await client.ask("GET", "/registrations", query="?api-version=1&$top=3")
    for id_ in ("1", "2", "4", "5"):
        await client.remove(id_)
    await client.write("0", body("<Tags>changed</Tags>" + APPLE))
    await client.write("6")
    token = reply.headers["x-ms-continuationtoken"]
    assert await ids(client, f"&ContinuationToken={token}") == ["3", "6"]


async def token_of(client: Registrar) -> str:
    for number in range(3):
        await client.write(str(number))
    reply = await client.ask("GET", "/registrations", query="?api-version=2017-04&$top=1")
    return reply.headers["x-ms-continuationtoken"]


@pytest.mark.parametrize(
    "spoil",
    [
        unquote,
        lambda token: quote_plus(quote_plus(token)),
        lambda token: token[:-3],
        lambda token: token.replace("A", "B", 1),
        lambda token: "x" + token,
        lambda _: "",
        lambda _: "MzEobik7Mg%3D%3D",
    ],
)
async def test_a_token_that_was_changed_on_its_way_is_refused(client: Registrar, spoil: object) -> None:
    assert callable(spoil)
    token = await token_of(client)
    assert await ids(client, f"&ContinuationToken={token}") == ["1", "2"]
    reply = await client.ask("GET", "/registrations", query=f"?api-version=1&ContinuationToken={spoil(token)}")
    assert (reply.status, reply.detail) == (400, "The continuation token is invalid")


async def test_a_token_that_was_encoded_once_more_is_taken(client: Registrar) -> None:
    token = await token_of(client)
    assert await ids(client, f"&ContinuationToken={quote(token)}") == ["1", "2"]


@pytest.mark.parametrize("top", ["0", "-1", "x", "", "1.5", "%C2%B2", "1_0"])
async def test_a_number_of_entries_that_is_none_is_refused(client: Registrar, top: str) -> None:
    assert (await client.ask("GET", "/registrations", query=f"?api-version=1&$top={top}")).status == 400


async def test_a_page_has_a_hundred_entries_unless_told_and_a_thousand_at_most(client: Registrar) -> None:
    register = client.emulator._service._store.register
    [made] = read((await client.write("0")).body)
    for number in range(1, 1002):
        register.put(made.__class__.of_fields(made.to_fields() | {"registrationId": str(number)}))
    for more, expected in (("", 100), ("&%24top=5", 5), ("&$top=1000", 1000), ("&$top=5000", 1000)):
        assert len(await client.listed(more)) == expected
