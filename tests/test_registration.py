"""Registrations are read as the service tells them, written as it takes them, and folded by one rule."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkload.emulator.parts import parts
from bulkload.errors import InputError
from bulkload.registration import (
    FAMILIES,
    FeedError,
    FeedReader,
    Handle,
    Registration,
    Template,
    description,
    entry,
    fold,
    read,
    read_filter,
)

TOKEN = "00FF" * 16
NEVER = "9999-12-31T23:59:59.9999999Z"

ATOM = 'xmlns="http://www.w3.org/2005/Atom"'
DATA = "http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"
BUS = 'xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"'
INSTANCE = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'

ETAG = "<ETag>3</ETag>"
SYSTEM = f"{ETAG}<ExpirationTime>2031-02-03T04:05:06.789Z</ExpirationTime><RegistrationId>12-34-5</RegistrationId>"
APPLE = f"{SYSTEM}<Tags>news,lang:en</Tags><DeviceToken>{TOKEN}</DeviceToken>"


def described(kind: str, inner: str) -> str:
    """A description that is named for its kind."""
    return f"<{kind}RegistrationDescription {BUS} {INSTANCE}>{inner}</{kind}RegistrationDescription>"


def typed(kind: str, inner: str) -> str:
    """The same whose type says its kind."""
    type_ = f'i:type="{kind}RegistrationDescription"'
    return f"<RegistrationDescription {type_} {INSTANCE} {BUS}>{inner}</RegistrationDescription>"


def older_entry(content: str, *, head: str = "") -> str:
    """An entry as the front end of 2018 tells it; without `head` as one of a list."""
    place = "https://ns.example/hub/registrations/12-34-5?api-version=2017-04&amp;$top=100"
    return (
        f'<entry a:etag="W/&quot;3&quot;" {head} xmlns:a="{DATA}"><id>{place}</id><title type="text">12-34-5</title>'
        f"<published>2018-11-07T00:18:37Z</published><updated>2018-11-07T00:18:37Z</updated>"
        f'<link rel="self" href="{place}"/><content type="application/xml">{content}</content></entry>'
    )


def older(*contents: str) -> bytes:
    return (
        f'<feed {ATOM}><title type="text">Registrations</title><id>https://ns.example/hub/registrations</id>'
        f'<updated>2018-11-07T00:18:37Z</updated><link rel="self" href="https://ns.example/hub/registrations"/>'
        f'<link rel="next" href="https://ns.example/hub/registrations?continuationtoken=MQ%253D"/>'
        f"{''.join(map(older_entry, contents))}</feed>"
    ).encode()


def newer_entry(content: str, *, prefix: str = "p2", head: str = "") -> str:
    """The same as the front end of 2023 tells it."""
    place = "https://ns.example/hub/resources/12-34-5?api-version=2020-06"
    return (
        f'<entry {prefix}:etag="W/&quot;3&quot;" xmlns:{prefix}="{DATA}" {head}><id>{place}</id>'
        f'<title type="text">12-34-5</title><published>2023-08-03T15:53:55Z</published>'
        f'<updated>2023-08-03T15:53:55Z</updated><link rel="self" href="{place}" />'
        f'<content type="application/xml">{content}</content></entry>'
    )


def newer(*contents: str) -> bytes:
    return (
        f'<feed {ATOM}><title type="text">Registrations</title><id>https://ns.example/hub/resources</id>'
        f"<updated>2023-08-03T15:53:55Z</updated>"
        f'<link rel="self" href="https://ns.example/hub/resources" />{"".join(map(newer_entry, contents))}</feed>'
    ).encode()


DOCUMENTS: dict[str, Callable[[str], bytes]] = {
    "a list of 2018": older,
    "an entry of 2018": lambda content: older_entry(content, head=ATOM).encode(),
    "a list of 2023": newer,
    "an entry of 2023": lambda content: newer_entry(content, prefix="p1", head=ATOM).encode(),
    "a description alone": lambda content: content.encode(),
    "with a declaration": lambda content: b'<?xml version="1.0" encoding="utf-8" ?>\r\n' + older(content),
    "in UTF-16": lambda content: older(content).decode().encode("utf-16"),
}


def one(document: bytes | str) -> Registration:
    (found,) = read(document.encode() if isinstance(document, str) else document)
    return found


def apple(**fields: Any) -> Registration:
    """A device's native registration; `of` is the installation that it is a part of."""
    installation, tags = fields.pop("of", None), tuple(fields.pop("tags", ()))
    system = (f"$InstallationId:{{{installation}}}",) if installation is not None else ()
    made = {"kind": "Apple", "handle": Handle.device_token(TOKEN), "registration_id": "1-1-1"}
    return Registration(**{**made, **fields, "tags": system + tags})


def templated(name: str | None, body: str = "{}", **fields: Any) -> Registration:
    contents = {key: fields.pop(key) for key in ("headers", "expiry") if key in fields}
    return apple(
        **{"kind": "AppleTemplate", "template": Template(body=body, name=name, **contents), **fields},
    )


class TestReading:
    @pytest.mark.parametrize("form", DOCUMENTS)
    @pytest.mark.parametrize("spelled", [described, typed])
    def test_both_front_ends_and_both_spellings_are_read_alike(self, form: str, spelled: Any) -> None:
        assert one(DOCUMENTS[form](spelled("Apple", APPLE))) == Registration(
            kind="Apple",
            handle=Handle.device_token(TOKEN),
            registration_id="12-34-5",
            etag="3",
            expiration_time="2031-02-03T04:05:06.789Z",
            tags=("news", "lang:en"),
        )

    @pytest.mark.parametrize("made", [older, newer])
    def test_a_list_of_several_is_read_in_its_order_and_one_of_none_is_none(self, made: Any) -> None:
        kinds = ["Apple", "Gcm", "AppleTemplate"]
        assert [found.kind for found in read(made(*(described(kind, ETAG) for kind in kinds)))] == kinds
        assert read(made()) == []

    def test_elements_are_told_by_their_names_whatever_their_prefixes(self) -> None:
        inner = APPLE.replace("</", "</s:").replace("<", "<s:").replace("<s:/s:", "</s:")
        name = "s:AppleRegistrationDescription"
        content = f"<{name} {BUS.replace('xmlns', 'xmlns:s')}>{inner}</{name}>"
        document = older(content).decode().replace("<feed", "<f:feed").replace("</feed", "</f:feed")
        assert one(document.replace("<f:feed ", f"<f:feed {ATOM.replace('xmlns', 'xmlns:f')} ")) == one(
            older(described("Apple", APPLE))
        )

    @pytest.mark.parametrize(
        ("kind", "inner", "handle", "platform"),
        [
            ("Apple", "<DeviceToken>00FF</DeviceToken>", {"DeviceToken": "00FF"}, "apns"),
            ("Gcm", "<GcmRegistrationId>g:1</GcmRegistrationId>", {"GcmRegistrationId": "g:1"}, "gcm"),
            ("Fcm", "<GcmRegistrationId>g:1</GcmRegistrationId>", {"GcmRegistrationId": "g:1"}, "gcm"),
            ("Fcm", "<FcmRegistrationId>g:1</FcmRegistrationId>", {"GcmRegistrationId": "g:1"}, "gcm"),
            ("FcmV1", "<FcmV1RegistrationId>v:1</FcmV1RegistrationId>", {"FcmV1RegistrationId": "v:1"}, "fcmv1"),
            (
                "Windows",
                "<ChannelUri>https://w.example/%2f</ChannelUri>",
                {"ChannelUri": "https://w.example/%2f"},
                "wns",
            ),
            ("Mpns", "<ChannelUri>http://m.example/&amp;</ChannelUri>", {"ChannelUri": "http://m.example/&"}, "mpns"),
            ("Adm", "<AdmRegistrationId>amzn1.x</AdmRegistrationId>", {"AdmRegistrationId": "amzn1.x"}, "adm"),
            (
                "Baidu",
                "<BaiduUserId>1</BaiduUserId><BaiduChannelId>2</BaiduChannelId>",
                {"BaiduUserId": "1", "BaiduChannelId": "2"},
                "baidu",
            ),
            (
                "Browser",
                "<Auth>a</Auth><Endpoint>https://b.example</Endpoint><P256DH>p</P256DH>",
                {"Endpoint": "https://b.example", "P256DH": "p", "Auth": "a"},
                "browser",
            ),
            ("Xiaomi", "<XiaomiRegistrationId>x=</XiaomiRegistrationId>", {"XiaomiRegistrationId": "x="}, "xiaomi"),
        ],
    )
    def test_every_kind_is_read_with_and_without_a_template(
        self, kind: str, inner: str, handle: dict[str, str], platform: str
    ) -> None:
        native = one(older(described(kind, SYSTEM + inner)))
        assert native.handle == Handle(tuple(handle.items()))
        assert (native.kind, native.platform, native.template, native.raw) == (kind, platform, None, None)
        body = "<BodyTemplate><![CDATA[<a>$(b)</a>]]></BodyTemplate><TemplateName>t</TemplateName>"
        template = one(newer(typed(f"{kind}Template", SYSTEM + inner + body)))
        assert (template.kind, template.platform) == (f"{kind}Template", platform)
        assert (template.handle, template.template) == (native.handle, Template(body="<a>$(b)</a>", name="t"))

    def test_a_device_token_is_told_in_upper_case_however_it_is_written(self) -> None:
        found = one(described("Apple", f"<DeviceToken> {TOKEN.lower()}\n</DeviceToken>"))
        assert found.handle == Handle.device_token(TOKEN)

    def test_an_empty_older_name_does_not_hide_a_handle(self) -> None:
        inner = '<FcmRegistrationId>g:1</FcmRegistrationId><GcmRegistrationId i:nil="true"/>'
        assert one(described("Fcm", inner)).handle == Handle.gcm_registration_id("g:1")

    @pytest.mark.parametrize(
        ("text", "tags"),
        [
            ("myTag, myOtherTag", ("myTag", "myOtherTag")),
            (" a ,,\n b\t,", ("a", "b")),
            ("$InstallationId:{i-1},$UserId:{u},a", ("$InstallationId:{i-1}", "$UserId:{u}", "a")),
            ("", ()),
            (" , ", ()),
        ],
    )
    def test_tags_are_one_text_joined_by_commas(self, text: str, tags: tuple[str, ...]) -> None:
        assert one(described("Apple", f"<Tags>{text}</Tags>")).tags == tags

    def test_an_element_that_is_nil_or_empty_is_none(self) -> None:
        names = ("ETag", "ExpirationTime", "RegistrationId", "Tags", "PushVariables", "SecondaryTileName")
        for empty in ('<{} i:nil="true"/>', '<{} i:nil="true"></{}>', "<{}/>", "<{}> </{}>"):
            inner = "".join(empty.format(name, name) for name in names)
            found = one(described("Apple", f"{inner}<DeviceToken>{TOKEN}</DeviceToken>"))
            assert found == Registration(kind="Apple", handle=Handle.device_token(TOKEN))

    def test_a_template_s_name_and_expiry_may_be_nil(self) -> None:
        inner = '<BodyTemplate>{}</BodyTemplate><Expiry i:nil="true"/><TemplateName i:nil="true"/><ApnsHeaders/>'
        assert one(described("AppleTemplate", APPLE + inner)).template == Template(body="{}")

    def test_a_body_that_is_nil_makes_no_template_of_a_native_registration(self) -> None:
        assert one(described("Apple", f'{APPLE}<BodyTemplate i:nil="true"/>')).template is None

    def test_a_template_has_its_expiry_and_its_name(self) -> None:
        inner = "<BodyTemplate>{}</BodyTemplate><Expiry>$(e)</Expiry><TemplateName>Template Name</TemplateName>"
        found = one(described("AppleTemplate", APPLE + inner))
        assert found.template == Template(body="{}", name="Template Name", expiry="$(e)")

    def test_a_body_is_kept_to_its_last_blank(self) -> None:
        inner = "<BodyTemplate>\n <![CDATA[ <a>]]>&amp;<![CDATA[</a> ]]>\n</BodyTemplate>"
        template = one(described("AppleTemplate", APPLE + inner)).template
        assert template is not None
        assert template.body == "\n  <a>&</a> \n"

    @pytest.mark.parametrize(("kind", "name"), [("Windows", "Wns"), ("Mpns", "Mpns")])
    def test_a_template_s_headers_are_read(self, kind: str, name: str) -> None:
        headers = "".join(
            f"<{name}Header><Header>{header}</Header><Value>{value}</Value></{name}Header>\n"
            for header, value in (("X-WNS-Type", "wns/toast"), ("X-Other", ""), ("", "lost"))
        )
        inner = f"<ChannelUri>https://w.example/</ChannelUri><BodyTemplate/><{name}Headers>{headers}</{name}Headers>"
        template = one(described(f"{kind}Template", inner)).template
        assert template == Template(body="", headers={"X-WNS-Type": "wns/toast", "X-Other": ""})

    @pytest.mark.parametrize(
        ("text", "variables"),
        [('{"a":"b","c":"é"}', {"a": "b", "c": "é"}), ("{}", {}), ("[]", {}), ("nonsense", {}), ("null", {})],
    )
    def test_push_variables_are_a_json_object(self, text: str, variables: dict[str, str]) -> None:
        assert one(described("Apple", f"<PushVariables>{text}</PushVariables>")).push_variables == variables

    def test_a_secondary_tile_is_told(self) -> None:
        inner = "<ChannelUri>https://w.example/</ChannelUri><SecondaryTileName>Tile name</SecondaryTileName>"
        assert one(described("Windows", inner)).secondary_tile == "Tile name"

    @pytest.mark.parametrize("content", [described("Nokia", APPLE), typed("Nokia", APPLE)])
    def test_a_kind_that_is_not_known_is_kept_raw(self, content: str) -> None:
        found = one(older(content))
        assert (found.kind, found.handle, found.family, found.platform) == ("Nokia", None, None, None)
        assert (found.registration_id, found.tags) == ("12-34-5", ("news", "lang:en"))
        assert found.raw is not None
        assert TOKEN in found.raw
        assert "12-34-5?api-version" in found.raw

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "text",
            f"<Other {BUS}/>",
            f"<RegistrationDescription {BUS}>{APPLE}</RegistrationDescription>",
            typed("", APPLE),
        ],
    )
    def test_an_entry_without_a_kind_is_kept_raw(self, content: str) -> None:
        found = one(older(content))
        assert (found.kind, found.handle) == ("unknown", None)
        assert found.raw is not None

    @pytest.mark.parametrize(
        ("kind", "inner"),
        [
            ("Apple", ""),
            ("Apple", "<DeviceToken> </DeviceToken>"),
            ("Gcm", '<GcmRegistrationId i:nil="true"/>'),
            ("Gcm", "<FcmRegistrationId>g</FcmRegistrationId>"),
            ("Baidu", "<BaiduUserId>1</BaiduUserId>"),
            ("BrowserTemplate", "<Endpoint>https://b.example</Endpoint><Auth>a</Auth>"),
        ],
    )
    def test_a_known_kind_without_its_whole_handle_is_kept_raw(self, kind: str, inner: str) -> None:
        found = one(older(described(kind, SYSTEM + inner)))
        assert (found.kind, found.handle, found.registration_id) == (kind, None, "12-34-5")
        assert found.raw is not None

    def test_comments_and_instructions_between_are_no_part_of_anything(self) -> None:
        inner = APPLE.replace("news", "ne<!-- <Tags>x</Tags> -->w<?a b?>s").replace("<ETag>", "<!-- -->\n<ETag>")
        assert one(older(described("Apple", inner))) == one(older(described("Apple", APPLE)))

    def test_a_repr_shows_neither_handle_nor_body(self) -> None:
        found = templated("name", "a body", registration_id="12-34-5")
        assert repr(found) == "<Registration 12-34-5, AppleTemplate>"
        assert repr(replace(found, registration_id=None)) == "<Registration without an id, AppleTemplate>"


SEVERAL = newer(
    described("Apple", APPLE),
    typed("GcmTemplate", "<GcmRegistrationId>gé𝄞</GcmRegistrationId><BodyTemplate><![CDATA[]&]]></BodyTemplate>"),
    described("Nokia", "<A>&#233;&amp;</A>"),
)


def byte_by_byte(document: bytes) -> list[Registration]:
    reader = FeedReader()
    for byte in document:
        reader.feed(bytes((byte,)))
    return reader.finish()


class TestPieceByPiece:
    def test_a_document_byte_by_byte_is_the_same(self) -> None:
        assert byte_by_byte(SEVERAL) == read(SEVERAL)
        assert len(read(SEVERAL)) == 3

    @settings(max_examples=50)
    @given(cuts=st.lists(st.integers(0, len(SEVERAL)), max_size=8))
    def test_a_document_in_any_pieces_is_the_same(self, cuts: list[int]) -> None:
        bounds = [0, *sorted(cuts), len(SEVERAL)]
        reader = FeedReader()
        for begin, end in pairwise(bounds):
            reader.feed(SEVERAL[begin:end])
        assert reader.finish() == read(SEVERAL)

    def test_a_registration_is_there_as_soon_as_it_is_whole(self) -> None:
        reader = FeedReader()
        head, _, tail = SEVERAL.partition(b"</entry>")
        reader.feed(head)
        assert reader.registrations == []
        reader.feed(b"</entry>")
        assert [found.kind for found in reader.registrations] == ["Apple"]
        assert repr(reader) == "<FeedReader 1 registrations>"
        reader.feed(tail)
        assert len(reader.finish()) == 3


# Stands in what comes, and must stand in no error's text.
MARK = "c0ffee" * 4

BOMB = f'<!DOCTYPE feed [<!ENTITY a "{MARK}"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><feed>&b;</feed>'
EXTERNAL = f'<!DOCTYPE feed [<!ENTITY a SYSTEM "file:///etc/{MARK}">]><feed><entry>&a;</entry></feed>'

BROKEN = {
    "a DTD": (f"<!DOCTYPE {MARK}><feed/>".encode(), "declares a DTD"),
    "an external DTD": (f'<!DOCTYPE feed SYSTEM "http://{MARK}.example/"><feed/>'.encode(), "declares a DTD"),
    "an entity bomb": (BOMB.encode(), "declares a DTD"),
    "an external entity": (EXTERNAL.encode(), "declares a DTD"),
    "an entity that is not declared": (f"<feed><entry>&{MARK};</entry></feed>".encode(), "not XML"),
    "an unknown encoding": (f'<?xml version="1.0" encoding="{MARK}"?><feed/>'.encode(), "an unknown encoding"),
    "an encoding that is none": (f'<?xml version="1.0" encoding="hex"?><feed>{MARK}</feed>'.encode(), "encoding"),
    "an encoding that cannot be": (f'<?xml version="1.0" encoding="idna"?><feed>{MARK}</feed>'.encode(), "not XML"),
    "HTML": (f"<html><body>{MARK}</body></html>".encode(), "another kind, whose root is 'html'"),
    "HTML of a browser": (f"<!doctype html><p>{MARK}".encode(), "not XML"),
    "an error": (f"<Error><Code>404</Code><Detail>{MARK}</Detail></Error>".encode(), "whose root is 'Error'"),
    "another root": (f"<x{MARK}/>".encode(), "it is XML of another kind"),
    "another root in a namespace": (f"<a:b xmlns:a='{MARK}'/>".encode(), "whose root is 'b'"),
    "JSON": (f'{{"error":"{MARK}"}}'.encode(), "not XML"),
    "text": (MARK.encode(), "not XML"),
    "nothing": (b"", "it is empty"),
    "blanks": (b" \r\n\t", "it is empty"),
    "a mark of byte order": (b"\xef\xbb\xbf", "not XML"),
    "a declaration": (b'<?xml version="1.0"?>', "not XML"),
    "half of a document": (older(described("Apple", MARK))[:-30], "not XML"),
    "half of an element's name": (f"<feed><entry><{MARK}".encode(), "not XML"),
    "a prefix that is not declared": (f"<feed><{MARK}:entry/></feed>".encode(), "not XML"),
    "more than one document": (f"<feed/><feed>{MARK}</feed>".encode(), "not XML"),
    "tags that cross": (f"<feed><entry></feed></entry>{MARK}".encode(), "not XML"),
    "bytes that are no text": (f"<feed><entry>{MARK}\xff".encode("latin-1"), "not XML"),
    "control characters": (f"<feed><entry>{MARK}\x00</entry></feed>".encode(), "not XML"),
    "nesting without end": (b"<entry>" + b"<a>" * 100_000, "nested too deeply"),
}


class TestWhatIsNoFeed:
    @pytest.mark.parametrize("name", BROKEN)
    def test_is_an_error_that_tells_nothing_of_what_came(self, name: str) -> None:
        document, words = BROKEN[name]
        with pytest.raises(FeedError, match=words) as raised:
            read(document)
        assert MARK not in str(raised.value).lower()
        assert len(str(raised.value)) < 120
        assert str(raised.value).isprintable()

    @pytest.mark.parametrize("name", BROKEN)
    def test_is_the_same_error_byte_by_byte(self, name: str) -> None:
        document, words = BROKEN[name]
        with pytest.raises(FeedError, match=words) as raised:
            byte_by_byte(document)
        assert MARK not in str(raised.value).lower()

    def test_deep_nesting_is_refused_before_it_is_told_raw(self) -> None:
        with pytest.raises(FeedError, match="nested too deeply"):
            read(b"<entry>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</entry>")

    @given(data=st.binary(max_size=40), at=st.integers(0, len(SEVERAL)))
    def test_is_an_error_or_read_whatever_came(self, data: bytes, at: int) -> None:
        for document in (data, SEVERAL[:at] + data, SEVERAL[:at] + data + SEVERAL[at:]):
            words = ""
            try:
                read(document)
            except FeedError as exc:
                words = str(exc)
            assert TOKEN not in words


# What XML can hold, and blanks nowhere but inside where a reader takes them off.
_WRITABLE = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")
_NASTY = st.sampled_from(
    ["]]>", "]]", ">", "<![CDATA[", "\r", "\r\n", "\n", "\t", '"', "'", "&", "&amp;", "<", "𝄞", "é"]
)
TEXTS = st.lists(_NASTY | st.text(_WRITABLE, max_size=5), max_size=6).map("".join)
STRIPPED = TEXTS.map(str.strip).filter(bool)
TAGS = st.lists(st.text(_WRITABLE, min_size=1, max_size=8).map(lambda text: text.replace(",", "").strip()).filter(bool))


@st.composite
def registrations(draw: st.DrawFn) -> Registration:
    family = draw(st.sampled_from(list(FAMILIES.values())))
    values = {name: draw(STRIPPED) for name in family.handles}
    if "DeviceToken" in values:
        values["DeviceToken"] = values["DeviceToken"].upper().strip() or "00"
    template = None
    if draw(st.booleans()):
        names = STRIPPED
        template = Template(
            body=draw(TEXTS),
            name=draw(st.none() | TEXTS.filter(bool)),
            headers=draw(st.dictionaries(names, TEXTS, max_size=3)) if family.headers else {},
            expiry=draw(st.none() | STRIPPED),
        )
    return Registration(
        kind=family.name if template is None else f"{family.name}Template",
        handle=Handle(tuple(values.items())),
        registration_id=draw(st.none() | STRIPPED),
        etag=draw(st.none() | STRIPPED),
        expiration_time=draw(st.none() | STRIPPED),
        tags=tuple(draw(TAGS)),
        push_variables=draw(st.dictionaries(TEXTS, TEXTS, max_size=2)),
        template=template,
        secondary_tile=draw(st.none() | STRIPPED),
    )


class TestWriting:
    @settings(max_examples=40)
    @given(registration=registrations())
    def test_what_is_written_is_read_back(self, registration: Registration) -> None:
        assert read(entry(registration)) == [registration]
        assert read(description(registration).encode()) == [registration]

    @settings(max_examples=40)
    @given(registration=registrations())
    def test_what_is_told_in_json_is_read_back(self, registration: Registration) -> None:
        assert Registration.of_fields(orjson.loads(orjson.dumps(registration.to_fields()))) == registration

    @pytest.mark.parametrize("content", [described("NokiaTemplate", APPLE), described("Apple", ETAG), "nothing"])
    def test_what_is_kept_raw_is_read_back_from_json_as_well(self, content: str) -> None:
        found = one(older(content))
        assert Registration.of_fields(orjson.loads(orjson.dumps(found.to_fields()))) == found

    def test_a_registration_without_a_handle_is_read_back_as_one(self) -> None:
        bare = Registration(kind="Apple", registration_id="1-1-1")
        assert Registration.of_fields(bare.to_fields()) == bare

    def test_an_entry_is_what_the_service_s_page_says(self) -> None:
        registration = templated("t", '{"a":"$(b)"}', tags=("x", "y"), expiry="2031-01-01")
        assert entry(replace(registration, registration_id=None)).decode() == (
            f'<?xml version="1.0" encoding="utf-8"?><entry {ATOM}><content type="application/xml">'
            f"<AppleTemplateRegistrationDescription {BUS} {INSTANCE}><Tags>x,y</Tags>"
            f"<DeviceToken>{TOKEN}</DeviceToken>"
            '<BodyTemplate><![CDATA[{"a":"$(b)"}]]></BodyTemplate><Expiry>2031-01-01</Expiry>'
            "<TemplateName>t</TemplateName></AppleTemplateRegistrationDescription></content></entry>"
        )

    def test_what_xml_cannot_hold_is_written_as_a_replacement(self) -> None:
        body = "a\x00b\x1bc\ud800d\ufffee"
        written = one(entry(templated("n\x07", body)))
        assert written.template == Template(body="a\ufffdb\ufffdc\ufffdd\ufffde", name="n\ufffd")

    def test_json_has_the_service_s_names_and_nothing_that_is_not_there(self) -> None:
        assert apple(registration_id=None).to_fields() == {"kind": "Apple", "deviceToken": TOKEN}
        uri = Handle.channel_uri("https://w.example/")
        whole = Registration(
            kind="WindowsTemplate",
            handle=uri,
            registration_id="1-1-1",
            etag="2",
            expiration_time=NEVER,
            tags=("a",),
            push_variables={"v": "w"},
            template=Template(body="", name="t", headers={"X-WNS-Type": "wns/toast"}, expiry="2031"),
            secondary_tile="tile",
        )
        assert whole.to_fields() == {
            "kind": "WindowsTemplate",
            "registrationId": "1-1-1",
            "etag": "2",
            "expirationTime": NEVER,
            "tags": ["a"],
            "channelUri": "https://w.example/",
            "pushVariables": {"v": "w"},
            "secondaryTileName": "tile",
            "templateName": "t",
            "headers": {"X-WNS-Type": "wns/toast"},
            "expiry": "2031",
            "bodyTemplate": "",
        }


BROWSER = {"endpoint": "https://b.example/1", "p256dh": "BA==", "auth": "x_-"}
BROWSER_PARTS = (("Endpoint", "https://b.example/1"), ("P256DH", "BA=="), ("Auth", "x_-"))


class TestHandles:
    @pytest.mark.parametrize(
        ("handle", "filter_"),
        [
            (Handle.device_token("00fc13"), "DeviceToken%20eq%20'00FC13'"),
            (
                Handle.channel_uri("https://w.example/?t=a%2fb+c&d=é"),
                "ChannelUri%20eq%20'https%3A%2F%2Fw.example%2F%3Ft%3Da%252fb%2Bc%26d%3D%C3%A9'",
            ),
            (Handle.gcm_registration_id("a:b'c''d"), "GcmRegistrationId%20eq%20'a%3Ab''c''''d'"),
            (
                Handle((("BaiduUserId", "1"), ("BaiduChannelId", "2"))),
                "BaiduUserId%20eq%20'1'%20and%20BaiduChannelId%20eq%20'2'",
            ),
        ],
    )
    def test_a_filter_is_what_the_service_s_page_says(self, handle: Handle, filter_: str) -> None:
        assert handle.filter == filter_

    @settings(max_examples=50)
    @given(parts=st.dictionaries(st.text("ABCdef019_", min_size=1), st.text(), min_size=1, max_size=3))
    def test_a_filter_is_read_back(self, parts: dict[str, str]) -> None:
        handle = Handle(tuple(parts.items()))
        assert handle.filter.isascii()
        assert not set(handle.filter) & set(' &#+"<>\\^`{|}?/=')
        assert read_filter(unquote(handle.filter)) == parts

    @pytest.mark.parametrize("text", ["A eq 'x' AND B eq 'y'", " A  eq 'x'and\nB eq 'y' "])
    def test_a_filter_is_read_however_it_is_spaced(self, text: str) -> None:
        assert read_filter(text) == {"A": "x", "B": "y"}

    @pytest.mark.parametrize(
        "text",
        ["", "A", "A eq", "A eq x", "A eq 'x", "A eq 'x''", "A ne 'x'", "A eq 'x' or B eq 'y'", "A eq 'x'B"],
    )
    def test_a_filter_for_something_else_is_none(self, text: str) -> None:
        assert read_filter(text) is None

    @pytest.mark.parametrize("token", ["", "0", "00F", "0x00", "00 ff", "00ff\n", "<00ff>", "\u0660\u0661", "zz"])
    def test_a_device_token_that_is_not_hex_is_refused_unnamed(self, token: str) -> None:
        with pytest.raises(InputError, match=r"^a device token is hex digits, two a byte, and nothing else$"):
            Handle.device_token(token)

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("https://w.example/x", "ChannelUri"),
            ("HTTP://w.example/x", "ChannelUri"),
            ("https://", "GcmRegistrationId"),
            ("https://w.example/a b", "GcmRegistrationId"),
            ("00ff", "DeviceToken"),
            ("00f", "GcmRegistrationId"),
            ("00ffg:", "GcmRegistrationId"),
            ("amzn1.adm-registration.v3.x", "GcmRegistrationId"),
        ],
    )
    def test_a_text_is_taken_for_what_its_form_is(self, text: str, name: str) -> None:
        ((found, value),) = Handle.guessed(text).parts
        assert (found, value.lower()) == (name, text.lower())

    @pytest.mark.parametrize(
        ("platform", "channel", "parts"),
        [
            ("apns", "00ff", (("DeviceToken", "00FF"),)),
            ("APNS", "00FF", (("DeviceToken", "00FF"),)),
            ("gcm", "g:1", (("GcmRegistrationId", "g:1"),)),
            ("fcmv1", "g:1", (("FcmV1RegistrationId", "g:1"),)),
            ("wns", "https://w.example/", (("ChannelUri", "https://w.example/"),)),
            ("mpns", "http://m.example/", (("ChannelUri", "http://m.example/"),)),
            ("adm", "amzn1", (("AdmRegistrationId", "amzn1"),)),
            ("baidu", "1-2-3", (("BaiduUserId", "1"), ("BaiduChannelId", "2-3"))),
            ("xiaomi", "x=", (("XiaomiRegistrationId", "x="),)),
            ("browser", BROWSER, BROWSER_PARTS),
            ("Browser", orjson.dumps(BROWSER).decode(), BROWSER_PARTS),
            ("browser", f"\n {orjson.dumps({**BROWSER, 'own': 1}).decode()}", BROWSER_PARTS),
        ],
    )
    def test_an_installation_s_handle_is_its_platform_s(
        self, platform: str, channel: object, parts: tuple[tuple[str, str], ...]
    ) -> None:
        assert Handle.of_installation({"platform": platform, "pushChannel": channel}).parts == parts

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({}, "no platform that is one"),
            ({"platform": "fcm", "pushChannel": "secret"}, "no platform that is one"),
            ({"platform": 7, "pushChannel": "secret"}, "no platform that is one"),
            ({"platform": "gcm"}, "no pushChannel"),
            ({"platform": "gcm", "pushChannel": ""}, "no pushChannel"),
            ({"platform": "gcm", "pushChannel": {"secret": 1}}, "no pushChannel"),
            ({"platform": "apns", "pushChannel": "secret"}, "hex digits"),
            ({"platform": "baidu", "pushChannel": "secret"}, "joined by -"),
            ({"platform": "baidu", "pushChannel": "secret-"}, "joined by -"),
            ({"platform": "baidu", "pushChannel": "-secret"}, "joined by -"),
            ({"platform": "browser", "pushChannel": "secret"}, "endpoint, p256dh and auth"),
            ({"platform": "browser", "pushChannel": "{secret"}, "endpoint, p256dh and auth"),
            ({"platform": "browser", "pushChannel": '["secret"]'}, "endpoint, p256dh and auth"),
            ({"platform": "browser", "pushChannel": {"endpoint": "secret", "auth": "secret"}}, "endpoint, p256dh"),
            ({"platform": "browser", "pushChannel": {**BROWSER, "auth": 1}}, "endpoint, p256dh and auth"),
            ({"platform": "browser", "pushChannel": {**BROWSER, "auth": ""}}, "endpoint, p256dh and auth"),
        ],
    )
    def test_an_installation_without_a_handle_is_refused_unnamed(self, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=words) as raised:
            Handle.of_installation(fields)
        assert "secret" not in str(raised.value)

    def test_a_device_of_fcm_v1_may_stand_under_gcm_as_well(self) -> None:
        names = [
            [name for handle in Handle.all_of_installation(fields) for name, _ in handle.parts]
            for fields in ({"platform": "fcmv1", "pushChannel": "g"}, {"platform": "gcm", "pushChannel": "g"})
        ]
        assert names == [["FcmV1RegistrationId", "GcmRegistrationId"], ["GcmRegistrationId"]]

    @pytest.mark.parametrize("platform", ["apns", "gcm", "fcmv1", "wns", "mpns", "adm", "xiaomi"])
    def test_a_push_channel_is_the_handle_s_one_value(self, platform: str) -> None:
        assert Handle.of_installation({"platform": platform, "pushChannel": "00FF"}).push_channel == "00FF"

    def test_a_push_channel_of_several_values_is_what_an_installation_has(self) -> None:
        assert Handle((("BaiduUserId", "1"), ("BaiduChannelId", "2-3"))).push_channel == "1-2-3"
        assert Handle(BROWSER_PARTS).push_channel == BROWSER

    def test_a_digest_is_the_channel_s_whatever_push_service_asks(self) -> None:
        gcm, fcm = Handle.all_of_installation({"platform": "fcmv1", "pushChannel": "g:1"})
        assert gcm.key == fcm.key == "g:1"
        assert gcm.channel_digest == fcm.channel_digest == hashlib.sha256(b"g:1").hexdigest()
        assert gcm.digest == gcm.channel_digest[:12]
        turned = dict(reversed(BROWSER.items()))
        handle = Handle.of_installation({"platform": "browser", "pushChannel": turned})
        assert handle.digest == Handle(BROWSER_PARTS).digest

    def test_a_repr_shows_the_digest_and_no_value(self) -> None:
        handle = Handle(BROWSER_PARTS)
        assert repr(handle) == f"<Handle Endpoint P256DH Auth {handle.digest}>"

    @pytest.mark.parametrize("make", [Handle.channel_uri, Handle.gcm_registration_id, Handle.guessed])
    @pytest.mark.parametrize("text", ["", "half\udcffof"])
    def test_a_text_that_no_hub_can_be_asked_for_is_refused_unnamed(self, make: Any, text: str) -> None:
        with pytest.raises(InputError) as raised:
            make(text)
        assert "half" not in str(raised.value)


def folded(*registrations: Registration, **options: Any) -> dict[str, Any]:
    """The installation of registrations that do not contradict each other."""
    fields, conflicts = fold(registrations, **options)
    assert conflicts == ()
    return fields


HASHED = hashlib.sha256(TOKEN.encode()).hexdigest()[:32]


class TestFolding:
    def test_native_tags_are_united_and_sorted(self) -> None:
        assert folded(apple(tags=("b", "a")), apple(registration_id="2", tags=("c", "b"))) == {
            "installationId": HASHED,
            "platform": "apns",
            "pushChannel": TOKEN,
            "tags": ["a", "b", "c"],
        }

    def test_templates_go_by_their_names_with_all_they_have(self) -> None:
        uri = Handle.channel_uri("https://w.example/")
        headers = {"X-WNS-Type": "wns/toast"}
        fields = folded(
            templated("b", "<b/>", tags=("y", "x"), kind="WindowsTemplate", handle=uri, headers=headers),
            templated("a", "<a/>", kind="WindowsTemplate", handle=uri, expiry="2031-01-01"),
        )
        assert fields["templates"] == {
            "a": {"body": "<a/>", "expiry": "2031-01-01"},
            "b": {"body": "<b/>", "headers": headers, "tags": ["x", "y"]},
        }
        assert list(fields["templates"]) == ["a", "b"]
        assert (fields["platform"], fields["pushChannel"]) == ("wns", "https://w.example/")
        assert "tags" not in fields

    def test_a_template_s_tags_are_not_its_device_s(self) -> None:
        fields = folded(apple(tags=("a",)), templated("t", tags=("b",)))
        assert fields["tags"] == ["a"]
        assert fields["templates"]["t"]["tags"] == ["b"]

    def test_ids_and_users_come_from_system_tags_and_other_system_tags_are_dropped(self) -> None:
        tags = ("$UserId:{u=1}", "$Other:{x}", "$InstallationId", "a")
        fields = folded(apple(of="i-1", tags=tags), templated("t", of="i-1", tags=(*tags, "$x", "t")))
        assert (fields["installationId"], fields["userId"], fields["tags"]) == ("i-1", "u=1", ["a"])
        assert fields["templates"] == {"t": {"body": "{}"}}

    def test_a_system_tag_without_a_value_is_none(self) -> None:
        assert folded(apple(of="", tags=("$UserId:{}",)))["installationId"] == HASHED
        assert apple(of="").installation_id is None

    def test_an_id_is_made_of_a_channel_s_digest(self) -> None:
        browser = Registration(kind="Browser", handle=Handle(BROWSER_PARTS))
        fields = folded(browser)
        assert fields["installationId"] == browser.handle.channel_digest[:32] if browser.handle else None
        assert fields["pushChannel"] == BROWSER
        assert fields["platform"] == "browser"

    def test_a_platform_may_become_another(self) -> None:
        handle = Handle.gcm_registration_id("g:1")
        old, new = (apple(kind=kind, handle=handle, registration_id=kind) for kind in ("Gcm", "Fcm"))
        v1 = apple(kind="FcmV1", handle=Handle((("FcmV1RegistrationId", "g:1"),)), tags=("a",))
        assert folded(old, new)["platform"] == "gcm"
        assert folded(old, new, v1, platforms={"gcm": "fcmv1"})["platform"] == "fcmv1"
        assert folded(old, v1, platforms={"*": "adm"})["tags"] == ["a"]
        assert folded(old, platforms={"gcm": "fcmv1", "*": "adm"})["platform"] == "fcmv1"

    def test_push_variables_are_united(self) -> None:
        registrations = (apple(push_variables={"a": "1"}), templated("t", push_variables={"a": "1", "b": "2"}))
        assert folded(*registrations)["pushVariables"] == {"a": "1", "b": "2"}

    def test_an_installation_s_own_expiration_is_kept_and_a_hub_s_is_not(self) -> None:
        time = "2031-02-03T04:05:06.789Z"
        assert folded(apple(of="i", expiration_time=time))["expirationTime"] == time
        for registration in (
            apple(expiration_time=time),
            apple(of="i", expiration_time=NEVER),
            apple(of="i", expiration_time="9999-12-31T23:59:59.999"),
            apple(of="i"),
        ):
            assert "expirationTime" not in folded(registration)

    def test_templates_without_a_name_do_not_hide_each_other(self) -> None:
        first, again, other = (templated(None, body, registration_id=body) for body in ("a", "a", "b"))
        fields = folded(first, replace(again, registration_id="c"), other)
        assert sorted(template["body"] for template in fields["templates"].values()) == ["a", "b"]
        assert all(name.startswith("template-") for name in fields["templates"])
        assert folded(other, first)["templates"] == fields["templates"]

    def test_headers_in_another_order_are_the_same_template(self) -> None:
        headers = {"A": "1", "B": "2"}
        turned = dict(reversed(headers.items()))
        registrations = (templated(None, headers=headers), templated(None, headers=turned, registration_id="2"))
        assert len(folded(*registrations)["templates"]) == 1

    @pytest.mark.parametrize("name", ["t", "Template Name", "a,b", "a, b ,c", ",a,", "t:1"])
    def test_a_template_s_name_is_no_tag_of_an_installation_s_part(self, name: str) -> None:
        told = Registration(
            kind="AppleTemplate",
            handle=Handle.device_token(TOKEN),
            tags=("$InstallationId:{i}", "dev", "own", name),
            template=Template(body="{}", name=name),
        )
        # Over the wire, where a comma within a name parts it.
        fields = folded(apple(of="i", tags=("dev",)), one(entry(told)))
        assert fields["templates"] == {name: {"body": "{}", "tags": ["own"]}}

    def test_a_template_s_name_is_a_tag_like_others_on_an_old_registration(self) -> None:
        fields = folded(templated("t", tags=("t", "a")), apple(registration_id="2", tags=("a",)))
        assert fields["templates"]["t"]["tags"] == ["a", "t"]


class TestContradictions:
    """A part of an installation first, then what expires later, then the greater id."""

    def test_a_part_of_an_installation_comes_before_all_others(self) -> None:
        part = templated("t", "part", of="i", registration_id="1", expiration_time="2030-01-01T00:00:00Z")
        old = templated("t", "old", registration_id="2", expiration_time=NEVER)
        fields, conflicts = fold([old, part])
        assert (fields["templates"]["t"]["body"], conflicts) == ("part", ("template",))

    @pytest.mark.parametrize(
        ("sooner", "later"),
        [
            ("2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"),
            (None, "2031-01-01T00:00:00Z"),
            ("nonsense", "2031-01-01T00:00:00Z"),
            ("2031-01-01T00:00:00Z", NEVER),
            ("2031-01-01T00:00:00.999Z", "2031-01-01T00:00:01Z"),
            ("2031-01-01T00:00:00Z", "2031-01-01T00:00:00.1234567Z"),
            ("2031-01-01T19:20+02:00", "2031-01-01T18:20+00:00"),
            ("2031-01-01T19:20+02:00", "2031-01-01T18:20"),
        ],
    )
    def test_then_the_one_that_expires_later(self, sooner: str | None, later: str) -> None:
        first = templated("t", "sooner", registration_id="2", expiration_time=sooner)
        second = templated("t", "later", registration_id="1", expiration_time=later)
        assert fold([first, second]).fields["templates"]["t"]["body"] == "later"

    @pytest.mark.parametrize(
        "times",
        [
            (None, None),
            (NEVER, "9999-12-31T23:59:59.999Z"),
            (NEVER, NEVER),
        ],
    )
    def test_then_the_one_whose_id_sorts_last(self, times: tuple[str | None, str | None]) -> None:
        pairs = zip(("1", "2"), times, strict=True)
        both = [templated("t", id_, registration_id=id_, expiration_time=time) for id_, time in pairs]
        for order in (both, both[::-1]):
            assert fold(order).fields["templates"]["t"]["body"] == "2"

    def test_then_the_one_that_was_written_last(self) -> None:
        both = [templated("t", etag, etag=etag) for etag in ("9", "10")]
        for order in (both, both[::-1]):
            assert fold(order).fields["templates"]["t"]["body"] == "10"

    @pytest.mark.parametrize(
        ("first", "second", "conflict", "name", "value"),
        [
            (apple(of="i-1"), apple(of="i-2", registration_id="2"), "installation-id", "installationId", "i-2"),
            (
                apple(tags=("$UserId:{u1}",)),
                apple(tags=("$UserId:{u2}",), registration_id="2"),
                "user",
                "userId",
                "u2",
            ),
            (
                apple(push_variables={"a": "1", "b": "1"}),
                apple(push_variables={"a": "2"}, registration_id="2"),
                "push-variable",
                "pushVariables",
                {"a": "2", "b": "1"},
            ),
            (
                templated("t", "1", tags=("a",)),
                templated("t", "2", tags=("b",), registration_id="2"),
                "template",
                "templates",
                {"t": {"body": "2", "tags": ["b"]}},
            ),
            (
                apple(kind="Gcm", handle=Handle.gcm_registration_id(TOKEN), tags=("a",)),
                apple(tags=("b",), registration_id="2"),
                "platform",
                "tags",
                ["b"],
            ),
        ],
    )
    def test_each_is_told_and_settled_by_that_rule(
        self, first: Registration, second: Registration, conflict: str, name: str, value: object
    ) -> None:
        for order in ([first, second], [second, first]):
            fields, conflicts = fold(order)
            assert conflicts == (conflict,)
            assert fields[name] == value

    def test_what_agrees_is_no_contradiction(self) -> None:
        same = [templated("t", registration_id=id_, push_variables={"a": "1"}, of="i", tags=("a",)) for id_ in "12"]
        assert fold(same).conflicts == ()


IDS = st.integers(1, 10**6).map(str)


@st.composite
def of_one_channel(draw: st.DrawFn) -> Sequence[Registration]:
    """Registrations of one channel that agree on little."""
    few = st.sampled_from(["a", "b", "$UserId:{u}", "$UserId:{v}", "$InstallationId:{i}", "$InstallationId:{j}", "t"])
    times = st.sampled_from([None, NEVER, "2031-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"])
    templates = st.builds(
        Template,
        body=st.sampled_from(["x", "y"]),
        name=st.sampled_from([None, "t", "s"]),
        headers=st.dictionaries(st.sampled_from("AB"), st.sampled_from("12")),
    )
    made = st.builds(
        Registration,
        kind=st.sampled_from(["Gcm", "Fcm", "FcmV1"]),
        handle=st.just(Handle.gcm_registration_id("g:1")),
        registration_id=IDS,
        expiration_time=times,
        tags=st.lists(few, max_size=4).map(tuple),
        push_variables=st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
        template=st.none() | templates,
    )
    return draw(st.lists(made, min_size=1, max_size=6, unique_by=lambda one: one.registration_id))


@settings(max_examples=60)
@given(data=st.data(), registrations=of_one_channel())
def test_the_same_registrations_make_the_same_installation_in_whatever_order(
    data: st.DataObject, registrations: Sequence[Registration]
) -> None:
    shuffled = data.draw(st.permutations(registrations))
    first, second = fold(registrations), fold(shuffled)
    assert orjson.dumps(first.fields) == orjson.dumps(second.fields)
    assert first.conflicts == second.conflicts


def test_an_installation_that_a_hub_took_apart_is_made_whole_again() -> None:
    """Over the emulator's own parts, which were written from the recordings."""
    installation = {
        "installationId": "i-1",
        "userId": "u",
        "platform": "wns",
        "pushChannel": "https://w.example/?t=1",
        "tags": ["a", "b"],
        "templates": {
            "plain": {"body": "<a/>", "headers": {"X-WNS-Type": "wns/toast"}},
            "with, commas": {"body": "<b/>", "expiry": "2031-01-01", "tags": ["own"]},
        },
        "pushVariables": {"v": "w"},
        "expirationTime": "2031-02-03T04:05:06Z",
    }
    told = [one(entry(part)) for part in _numbered(parts(orjson.dumps(installation)))]
    assert folded(*told) == installation


def _numbered(registrations: Sequence[Registration]) -> Iterator[Registration]:
    for number, registration in enumerate(registrations):
        yield replace(registration, etag=str(number))
