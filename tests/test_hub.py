"""A connection string is read in every form that people paste, and refused in one line that keeps the key."""

import itertools
import traceback
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.errors import InputError
from bulkload.hub import Hub

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
PARTS = ("Endpoint=sb://ns.servicebus.windows.net/", "SharedAccessKeyName=full", f"SharedAccessKey={KEY}")
WITH_HUB = (*PARTS, "EntityPath=devices")


def text(endpoint: str = "sb://ns.servicebus.windows.net/", *more: str) -> str:
    return ";".join([f"Endpoint={endpoint}", *PARTS[1:], *more])


def read(connection_string: str, *, hub: str | None = None) -> Hub:
    return Hub.from_connection_string(connection_string, hub=hub)


def refusal(connection_string: str, *, hub: str | None = None) -> str:
    """The message of the refusal, which is one line and does not hold the key, nor does its traceback."""
    with pytest.raises(InputError) as caught:
        read(connection_string, hub=hub)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert KEY not in message
    assert KEY not in "".join(str(exc) for exc in (caught.value.__cause__, caught.value.__context__))
    return message


def outcome_of(connection_string: str) -> Hub | str:
    """What was read, or the message of the refusal."""
    try:
        return read(connection_string)
    except InputError as exc:
        return str(exc)


def test_a_connection_string_of_the_portal_says_everything() -> None:
    assert read(";".join(WITH_HUB)) == Hub(
        host="ns.servicebus.windows.net", name="devices", key_name="full", key=KEY, scheme="https", alias=None
    )


@pytest.mark.parametrize("parts", list(itertools.permutations(WITH_HUB)))
def test_the_fields_come_in_any_order(parts: tuple[str, ...]) -> None:
    assert read(";".join(parts)) == read(";".join(WITH_HUB))


@pytest.mark.parametrize(
    "form",
    [
        "{};",
        ";{}",
        "{};;",
        " {} ",
        "{}\n",
        "{}\r\n",
        '"{}"',
        "'{}'",
        '"{}"\n',
    ],
)
def test_what_clings_to_a_pasted_string_is_taken_off(form: str) -> None:
    assert read(form.format(";".join(WITH_HUB))) == read(";".join(WITH_HUB))


def test_blanks_around_fields_and_values_are_taken_off() -> None:
    spaced = " ; ".join(part.replace("=", " = ", 1) for part in WITH_HUB)
    assert read(spaced) == read(";".join(WITH_HUB))


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_the_fields_names_are_read_in_any_case(change: Callable[[str], str]) -> None:
    parts = (part.partition("=") for part in WITH_HUB)
    changed = ";".join(f"{change(name)}={value}" for name, _, value in parts)
    assert read(changed) == read(";".join(WITH_HUB))


def test_a_field_that_nobody_knows_is_passed_over() -> None:
    assert read(text("sb://ns/", "TransportType=Amqp"), hub="h").host == "ns"


@UNHURRIED
@given(key=st.from_regex(r"[A-Za-z0-9+/=]{1,60}", fullmatch=True))
def test_a_key_holds_any_number_of_equals_signs(key: str) -> None:
    assert read(f"{PARTS[0]};{PARTS[1]};SharedAccessKey={key}", hub="h").key == key


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("sb://ns.servicebus.windows.net/", "https://ns.servicebus.windows.net/h"),
        ("sb://ns.servicebus.windows.net", "https://ns.servicebus.windows.net/h"),
        ("https://ns.servicebus.windows.net/", "https://ns.servicebus.windows.net/h"),
        ("SB://NS.ServiceBus.Windows.Net/", "https://ns.servicebus.windows.net/h"),
        ("sb://ns.servicebus.windows.net:443/", "https://ns.servicebus.windows.net:443/h"),
        ("sb://127.0.0.1:8443/", "https://127.0.0.1:8443/h"),
        ("sb://[2001:db8::1]/", "https://[2001:db8::1]/h"),
        ("sb://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443/h"),
        ("https://[::1]:8443", "https://[::1]:8443/h"),
    ],
)
def test_an_endpoint_of_sb_or_https_means_tls(endpoint: str, url: str) -> None:
    hub = read(text(endpoint), hub="h")
    assert hub.url == url
    assert hub.scheme == "https"


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
        ("http://127.8.9.10/", "127.8.9.10"),
        ("http://localhost:8080", "localhost:8080"),
        ("http://LOCALHOST/", "localhost"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://[0:0:0:0:0:0:0:1]/", "[0:0:0:0:0:0:0:1]"),
        ("HTTP://127.0.0.1/", "127.0.0.1"),
    ],
)
def test_a_loopback_host_may_do_without_tls(endpoint: str, host: str) -> None:
    hub = read(text(endpoint), hub="h")
    assert (hub.scheme, hub.host) == ("http", host)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://ns.servicebus.windows.net/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://[2001:db8::1]:8080/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://notlocalhost/",
    ],
)
def test_any_other_host_must_have_tls(endpoint: str) -> None:
    assert refusal(text(endpoint), hub="h").endswith(
        "would send tokens in the clear; http:// is for this machine only, use sb://"
    )


@pytest.mark.parametrize(
    "endpoint",
    [
        "ns.servicebus.windows.net",
        "//ns.servicebus.windows.net/",
        "amqps://ns.servicebus.windows.net/",
        "ftp://ns/",
        "file:///etc/passwd",
        "sb://",
        "sb:///",
        "sb://:443/",
        "sb:ns",
        "sb://[::1",
        "sb://[not-an-address]/",
        "sb://ns:port/",
        "sb://ns:65536/",
        "sb://ns:-1/",
        "http://localhost@example.com/",
        "http://localhost:80@example.com/",
        "http://example.com#localhost/",
        "http://example.com/localhost",
        "sb://user@ns/",
        "sb://user:password@ns/",
        "sb://fe80::1/",
        "sb://.ns/",
        "sb://ns..windows.net/",
        "nonsense",
    ],
)
def test_an_endpoint_that_is_no_address_is_refused_and_shown_without_its_password(endpoint: str) -> None:
    message = refusal(text(endpoint), hub="h")
    before, at, after = endpoint.rpartition("@")
    shown = f"{before.partition('//')[0]}//…@{after}" if at else endpoint
    # What cannot even be taken apart is not shown at all: nobody knows where a password in it would stand.
    assert f"Endpoint {shown!r} is not an address" in message or "Endpoint is not an address" in message


@pytest.mark.parametrize(
    "endpoint", ["sb://my namespace/", "sb:// /", "sb://…/", "sb://a,b/", "sb://*/", "sb://{namespace}/", "sb://a\\b/"]
)
def test_a_host_of_characters_that_no_host_has_is_refused(endpoint: str) -> None:
    assert " is not an address" in refusal(text(endpoint), hub="h")


def test_port_0_is_refused() -> None:
    assert " is not an address" in refusal(text("sb://ns:0/"), hub="h")


@pytest.mark.parametrize(
    "rest", ["/devices", "/devices/installations", "/?hub=devices", "/#devices", "EntityPath=devices"]
)
def test_an_endpoint_that_says_more_than_a_host_is_refused(rest: str) -> None:
    assert "Endpoint" in refusal(text(f"sb://ns.servicebus.windows.net{rest}"), hub="h")


def test_a_key_within_the_endpoint_is_not_shown() -> None:
    assert " is not an address" in refusal(text(f"amqps://full:{KEY}@ns.servicebus.windows.net/"), hub="h")


def test_no_part_of_a_key_within_the_endpoint_is_shown() -> None:
    assert "c2Vj" not in refusal(text("amqps://full:c2Vj/mV0=@ns.servicebus.windows.net/"), hub="h")


@pytest.mark.parametrize(
    ("without", "name"), [(0, "Endpoint"), (1, "SharedAccessKeyName"), (2, "SharedAccessKey")], ids=str
)
def test_a_missing_field_is_named(without: int, name: str) -> None:
    left = [part for number, part in enumerate(PARTS) if number != without]
    expected = f"the connection string has no {name}; its form is Endpoint=sb://…/;SharedAccessKeyName=…;"
    assert refusal(";".join(left), hub="h").startswith(expected)
    emptied = [*left, f"{name}="]
    assert refusal(";".join(emptied), hub="h").startswith(expected)


@pytest.mark.parametrize("nothing", ["", " ", ";", "\n", '""', "hello", "AccountKey=abc"])
def test_a_text_that_is_no_connection_string_is_told_every_field(nothing: str) -> None:
    message = refusal(nothing, hub="h")
    assert "has no Endpoint and no SharedAccessKeyName and no SharedAccessKey" in message


@UNHURRIED
@given(
    parts=st.permutations(WITH_HUB),
    where=st.integers(min_value=0, max_value=2),
    with_=st.sampled_from(["", ",", " ", "\n", "&", "|", "=", "/"]),
)
def test_a_lost_semicolon_never_shows_the_key(parts: list[str], where: int, with_: str) -> None:
    joined = with_.join([";".join(parts[: where + 1]), ";".join(parts[where + 1 :])])
    assert refusal(joined).startswith(("the connection string", "no hub is named"))


@UNHURRIED
@given(connection_string=st.text() | st.text().map(lambda junk: f"{junk};{';'.join(PARTS)};EntityPath={junk}"))
def test_whatever_text_is_given_is_read_or_refused(connection_string: str) -> None:
    outcome = outcome_of(connection_string)
    if isinstance(outcome, Hub):
        assert outcome.key == KEY
    else:
        assert len(outcome.splitlines()) == 1
        assert KEY not in outcome


@pytest.mark.parametrize("name", ["devices", "Devices-2.test_1", "a", "..."])
def test_the_hub_is_named_by_either_or_by_both_in_agreement(name: str) -> None:
    assert read(";".join(PARTS), hub=name).name == name
    assert read(text("sb://ns/", f"EntityPath={name}")).name == name
    assert read(text("sb://ns/", f"EntityPath={name}"), hub=name).name == name
    assert read(text("sb://ns/", "EntityPath="), hub=name).name == name


def test_two_hubs_that_differ_are_refused_and_both_are_named() -> None:
    assert refusal(";".join(WITH_HUB), hub="other") == (
        "two hubs are named: 'other' and, as the connection string's EntityPath, 'devices'; take one away"
    )


def test_two_spellings_of_one_hub_agree() -> None:
    assert read(";".join(WITH_HUB), hub="Devices").name.lower() == "devices"


@pytest.mark.parametrize("entity_path", ["", ";EntityPath="])
def test_no_hub_at_all_is_refused_with_the_ways_to_name_it(entity_path: str) -> None:
    assert refusal(";".join(PARTS) + entity_path) == (
        "no hub is named; name it with --hub, BULKLOAD_HUB or the connection string's EntityPath"
    )


@pytest.mark.parametrize("name", ["a b", "a/b", "a?b", "..", ".", "hub\n", "höb", "a%20b", "-\x1b[2J"])
def test_a_hub_s_name_of_other_characters_is_refused(name: str) -> None:
    assert refusal(";".join(PARTS), hub=name) == (
        f"hub name {name!r} is not one; it holds letters, digits, '.', '-' and '_' only"
    )


def test_two_hubs_that_differ_are_refused_in_one_line_whatever_they_hold() -> None:
    assert "two hubs are named" in refusal(";".join(WITH_HUB), hub="a\nb")


def test_a_hub_never_shows_its_key() -> None:
    hub = read(";".join(WITH_HUB))
    assert KEY not in repr(hub)
    assert KEY not in str(hub)
    assert KEY not in hub.url + hub.identity
    assert "ns.servicebus.windows.net" in repr(hub)


def test_a_hub_is_the_same_to_a_ledger_whatever_the_case_the_scheme_or_the_key() -> None:
    one = Hub(host="NS.servicebus.windows.net", name="Devices", key_name="a", key="b")
    two = Hub(host="ns.servicebus.windows.net", name="devices", key_name="c", key="d", scheme="http")
    assert one.identity == two.identity == "ns.servicebus.windows.net/devices"
    assert Hub(host="ns", name="other", key_name="a", key="b").identity != two.identity


def test_an_alias_stands_for_a_host_that_changes_from_run_to_run() -> None:
    one = Hub(host="127.0.0.1:1", name="h", key_name="a", key="b", alias="emulator")
    two = Hub(host="127.0.0.1:2", name="h", key_name="a", key="b", alias="emulator")
    assert one.identity == two.identity == "emulator/h"
    assert one.url != two.url


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1:5000", True),
        ("127.0.0.1", True),
        ("[::1]:5000", True),
        ("localhost:1", True),
        ("ns.servicebus.windows.net", False),
        ("[2001:db8::1]:5000", False),
        ("10.0.0.1:127", False),
    ],
)
def test_a_hub_knows_whether_it_is_on_this_machine(host: str, is_here: bool) -> None:
    assert Hub(host=host, name="h", key_name="a", key="b").is_loopback == is_here


def test_a_traceback_does_not_show_the_key() -> None:
    try:
        read(text("sb://ns:port/"), hub="h")
    except InputError:
        assert KEY not in traceback.format_exc()
    else:
        pytest.fail("a port that is no number was taken")


def test_a_usual_name_counts_where_nothing_else_names_the_hub() -> None:
    text = "Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=s"
    assert Hub.from_connection_string(text, usual="u").name == "u"
    assert Hub.from_connection_string(text, hub="h", usual="u").name == "h"
    assert Hub.from_connection_string(f"{text};EntityPath=e", usual="u").name == "e"
