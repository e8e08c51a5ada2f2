"""Tokens are what the service computes, stay fresh for as long as a run lasts, and are refused for every fault."""

import base64
import hashlib
import hmac
import itertools
import re
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.sas import CLOCK_TOLERANCE, LIFETIME, Signer, sign, verify

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

AUDIENCE = "https://ns.servicebus.windows.net/devices"
RESOURCE = "ns.servicebus.windows.net/devices/installations/a1"
NOON = 1_700_000_000
KEYS = {"full": "c2VjcmV0", "other": "b3RoZXI="}
MINUTE = 60.0
HOUR = 3600.0

MISSING = "MissingToken: The Authorization header was not found."
MALFORMED = "MalformedToken: The token is malformed."
BAD_SIGNATURE = "InvalidSignature: The token has an invalid signature."
EXPIRED = "ExpiredToken: The token is expired."
WRONG_AUDIENCE = "40104: Invalid authorization token audience."

# A host, a hub or an id where nobody looks: anything but the sign that divides them.
SEGMENTS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1)


def signature(key: str, resource: str, expires: object) -> str:
    """The signature by the book, with none of the module's code."""
    mac = hmac.new(key.encode("utf-8"), digestmod=hashlib.sha256)
    mac.update(resource.encode("utf-8"))
    mac.update(b"\n")
    mac.update(str(expires).encode("utf-8"))
    return base64.b64encode(mac.digest()).decode("ascii")


def token(
    resource: str = quote(AUDIENCE, safe=""),
    *,
    key: str = KEYS["full"],
    key_name: str = "full",
    expires: object = NOON + 600,
    order: str = "sr sig se skn",
) -> str:
    """A well-signed token over `resource` exactly as it is written, with the fields that `order` names."""
    fields = {
        "sr": resource,
        "sig": quote(signature(key, resource, expires), safe=""),
        "se": str(expires),
        "skn": quote(key_name, safe=""),
    }
    return "SharedAccessSignature " + "&".join(f"{name}={fields[name]}" for name in order.split())


def refusal(authorization: str | None, resource: str = RESOURCE, *, now: float = NOON) -> str | None:
    return verify(authorization, resource, KEYS, now=now)


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def signer(clock: Callable[[], float]) -> Signer:
    return Signer(AUDIENCE, "full", KEYS["full"], clock=clock)


def expiry(authorization: str) -> int:
    match = re.search(r"&se=(\d+)&", authorization)
    assert match is not None
    return int(match[1])


def test_a_token_is_the_one_that_openssl_computes() -> None:
    # printf 'https%%3A%%2F%%2Fns.servicebus.windows.net%%2Fdevices\n1700003600' |
    #   openssl dgst -sha256 -hmac c2VjcmV0 -binary | base64
    by_openssl = "0TREPM7b94yAq2fk6HPC8gHzOBOS1TnhIvkedFIpqOA="
    assert sign(AUDIENCE, "full", "c2VjcmV0", 1_700_003_600) == (
        "SharedAccessSignature sr=https%3A%2F%2Fns.servicebus.windows.net%2Fdevices"
        f"&sig={quote(by_openssl, safe='')}&se=1700003600&skn=full"
    )


@pytest.mark.parametrize("key", ["c2VjcmV0", "not base64 at all!", "schlüssel-🔑", "a" * 200])
@pytest.mark.parametrize("key_name", ["full", "Root Manage&Shared=Access+Key%", "ключ"])
def test_the_key_is_signed_with_as_text_and_the_fields_are_percent_encoded(key: str, key_name: str) -> None:
    resource = quote(AUDIENCE, safe="")
    assert sign(AUDIENCE, key_name, key, NOON) == (
        f"SharedAccessSignature sr={resource}&sig={quote(signature(key, resource, NOON), safe='')}"
        f"&se={NOON}&skn={quote(key_name, safe='')}"
    )


def test_the_audience_is_signed_in_lower_case() -> None:
    assert sign("HTTPS://NS.ServiceBus.Windows.Net/Devices", "full", "k", NOON) == sign(AUDIENCE, "full", "k", NOON)


@UNHURRIED
@given(
    path=st.lists(SEGMENTS, min_size=1, max_size=4),
    below=st.lists(SEGMENTS, max_size=3),
    scheme=st.sampled_from(["https://", "http://", "sb://", ""]),
    key_name=st.text(min_size=1),
    key=st.text(min_size=1),
    expires=st.integers(min_value=NOON + 1, max_value=2**40),
)
def test_what_is_signed_is_verified_for_its_audience_and_all_below_it(
    path: list[str], below: list[str], scheme: str, key_name: str, key: str, expires: int
) -> None:
    authorization = sign(scheme + "/".join(path), key_name, key, expires)
    assert verify(authorization, "/".join(path + below), {key_name: key}, now=NOON) is None


@UNHURRIED
@given(other=st.text(min_size=1).filter(lambda key: key != KEYS["full"]))
def test_no_other_key_signs_for_a_policy(other: str) -> None:
    assert refusal(token(key=other)) == BAD_SIGNATURE


@UNHURRIED
@given(where=st.integers(min_value=0), with_=st.characters(codec="ascii", categories=["L", "N", "P"]))
def test_a_token_of_which_one_character_is_changed_is_refused(where: int, with_: str) -> None:
    good = token()
    where %= len(good)
    changed = good[:where] + with_ + good[where + 1 :]
    # %3D and %3d are two spellings of one signature; nothing else may be changed.
    is_the_same = unquote(changed) == unquote(good) and changed.split("&")[0] == good.split("&")[0]
    assert (refusal(changed) is None) == is_the_same


@pytest.mark.parametrize("authorization", [None, ""])
def test_no_token_is_refused_as_missing(authorization: str | None) -> None:
    assert refusal(authorization) == MISSING


@pytest.mark.parametrize(
    "authorization",
    [
        "SharedAccessSignature",
        "SharedAccessSignature ",
        "SharedAccessSignature sr",
        "SharedAccessSignature &&&",
        "Bearer x",
        "Basic dXNlcjpwYXNz",
        token().removeprefix("SharedAccessSignature "),
        token().replace("SharedAccessSignature", "Bearer"),
        token().replace("&", ";"),
        *(token(order=" ".join(order)) for order in itertools.combinations(["sr", "sig", "se", "skn"], 3)),
    ],
)
def test_a_token_of_another_form_is_malformed(authorization: str) -> None:
    assert refusal(authorization) == MALFORMED


@pytest.mark.parametrize("expires", ["", "soon", "-5", "1e12", "1700000600.0", "٢٠٠٠٠٠٠٠٠٠", " 2000000000"])
def test_an_expiry_that_is_no_number_of_seconds_is_malformed_however_well_signed(expires: str) -> None:
    assert refusal(token(expires=expires)) == MALFORMED


def test_an_expiry_of_five_thousand_digits_is_malformed_however_well_signed() -> None:
    assert refusal(token(expires="9" * 5000)) == MALFORMED


@pytest.mark.parametrize("key_name", ["nobody", "Full", "full ", ""])
def test_a_policy_that_is_not_the_hub_s_is_refused_like_a_wrong_key(key_name: str) -> None:
    assert refusal(token(key_name=key_name)) == BAD_SIGNATURE


def test_one_policy_s_key_is_not_another_s() -> None:
    assert refusal(token(key=KEYS["other"], key_name="full")) == BAD_SIGNATURE
    assert refusal(token(key=KEYS["other"], key_name="other")) is None


@pytest.mark.parametrize(("later", "expected"), [(-1, None), (-0.001, None), (0, EXPIRED), (1, EXPIRED)])
def test_a_token_is_good_until_the_second_of_its_expiry(later: float, expected: str | None) -> None:
    assert refusal(token(expires=NOON), now=NOON + later) == expected


def test_a_later_expiry_needs_a_new_signature() -> None:
    assert refusal(token().replace(f"se={NOON + 600}", f"se={NOON + 601}")) == BAD_SIGNATURE


@pytest.mark.parametrize("order", [" ".join(order) for order in itertools.permutations(["sr", "sig", "se", "skn"])])
def test_the_fields_come_in_any_order(order: str) -> None:
    assert refusal(token(order=order)) is None


@pytest.mark.parametrize(
    "resource",
    [
        "https%3A%2F%2Fns.servicebus.windows.net%2Fdevices",
        "https%3a%2f%2fns.servicebus.windows.net%2fdevices",
        "https%3a%2F%2fns.servicebus.windows.net%2Fdevices",
        "https://ns.servicebus.windows.net/devices",
        "HTTPS%3A%2F%2FNS.servicebus.windows.net%2FDevices",
    ],
)
def test_the_signature_is_checked_over_the_audience_as_it_was_written(resource: str) -> None:
    assert refusal(token(resource)) is None
    rewritten = token(resource).replace("3A", "3~").replace("3a", "3A").replace("3~", "3a")
    assert refusal(rewritten) == (BAD_SIGNATURE if "%3" in resource else None)


@pytest.mark.parametrize(
    "audience",
    [
        "https://ns.servicebus.windows.net/",
        "https://ns.servicebus.windows.net",
        "http://ns.servicebus.windows.net/devices",
        "sb://ns.servicebus.windows.net/devices/",
        "ns.servicebus.windows.net/devices",
        "https://ns.servicebus.windows.net/devices/installations",
        "https://ns.servicebus.windows.net/devices/installations/a1",
        "https://ns.servicebus.windows.net/DEVICES/installations/A1/",
    ],
)
def test_the_resource_and_each_of_its_parents_is_an_audience_whatever_the_scheme(audience: str) -> None:
    assert refusal(token(quote(audience, safe=""))) is None


@pytest.mark.parametrize(
    "audience",
    [
        "",
        "/",
        "https://",
        "https:",
        "https://ns.servicebus.windows.ne",
        "https://ns.servicebus.windows.net/device",
        "https://ns.servicebus.windows.net/devices2",
        "https://ns.servicebus.windows.net/devices/installations/a",
        "https://ns.servicebus.windows.net/devices/installations/a1/b",
        "https://ns.servicebus.windows.net//devices",
        "https://ns.servicebus.windows.net/devices?x",
        "https://other.servicebus.windows.net/devices",
        "https://ns.servicebus.windows.net:443/devices",
    ],
)
def test_an_audience_that_is_no_parent_by_whole_segments_is_refused(audience: str) -> None:
    assert refusal(token(quote(audience, safe=""))) == WRONG_AUDIENCE


@UNHURRIED
@given(authorization=st.text() | st.text().map("SharedAccessSignature sr={0}&sig={0}&se={0}&skn=full".format))
def test_whatever_text_is_presented_is_refused_and_never_raises(authorization: str) -> None:
    assert refusal(authorization) in (MISSING, MALFORMED, BAD_SIGNATURE)


@pytest.mark.parametrize("field", ["sr", "sig", "se"])
def test_a_header_that_is_not_utf_8_is_refused_and_never_raises(field: str) -> None:
    # aiohttp hands such bytes over as lone surrogates.
    assert refusal(token().replace(f"{field}=", f"{field}=\udcff")) in (MALFORMED, BAD_SIGNATURE)


def test_a_token_is_good_at_every_minute_of_two_days_and_signed_32_times_a_day() -> None:
    clock = Clock()
    subject = signer(clock)
    tokens = []
    for _ in range(2 * 24 * 60):
        tokens.append(subject.token)
        # A request that leaves with it may take its minute.
        assert refusal(tokens[-1], now=clock.now + MINUTE) is None
        clock.now += MINUTE
    assert len(set(tokens)) == 2 * 32


@UNHURRIED
@given(steps=st.lists(st.floats(min_value=0, max_value=5 * HOUR), min_size=1, max_size=30))
def test_a_token_has_a_quarter_of_its_life_before_it_however_seldom_it_is_asked_for(steps: list[float]) -> None:
    clock = Clock()
    subject = signer(clock)
    for step in steps:
        clock.now += step
        assert LIFETIME / 4 - 1 < expiry(subject.token) - clock.now <= LIFETIME
        assert refusal(subject.token, now=clock.now) is None
        assert subject.expires == expiry(subject.token)


def test_a_token_that_is_fresh_is_not_signed_again() -> None:
    clock = Clock()
    subject = signer(clock)
    first = subject.token
    clock.now += 44 * MINUTE
    assert subject.token is first
    clock.now += 1 * MINUTE
    assert subject.token != first


def test_a_clock_that_is_set_back_brings_a_new_token() -> None:
    clock = Clock()
    subject = signer(clock)
    first = subject.token
    clock.now -= 2 * HOUR
    assert expiry(subject.token) == NOON - 2 * HOUR + LIFETIME
    assert subject.token != first


def test_a_clock_that_is_corrected_by_less_than_the_tolerance_keeps_the_token() -> None:
    clock = Clock()
    subject = signer(clock)
    first = subject.token
    clock.now -= CLOCK_TOLERANCE - 1
    assert subject.token is first


@pytest.mark.parametrize("error", [-30 * 24 * HOUR, -2 * HOUR, -61.0, 61.0, 2 * HOUR, 30 * 24 * HOUR])
def test_a_refused_token_is_signed_anew_by_the_hub_s_time_and_stays_right_for_hours(error: float) -> None:
    true = Clock()
    subject = signer(lambda: true.now + error)
    subject.renew(subject.token, hub_time=true.now)
    assert subject.clock_error == error
    for _ in range(12 * 60):
        assert refusal(subject.token, now=true.now) is None
        assert expiry(subject.token) <= true.now + LIFETIME
        true.now += MINUTE


def test_a_clock_that_is_put_right_after_a_refusal_is_believed_again_at_the_next_one() -> None:
    true = Clock()
    clock = Clock(NOON + 3 * HOUR)
    subject = signer(clock)
    subject.renew(subject.token, hub_time=true.now)
    assert refusal(subject.token, now=true.now) is None
    clock.now = true.now
    stale = subject.token
    subject.renew(stale, hub_time=true.now)
    assert subject.clock_error == 0.0
    assert expiry(subject.token) == true.now + LIFETIME


@pytest.mark.parametrize("error", [-CLOCK_TOLERANCE, -1.0, 0.0, 1.0, CLOCK_TOLERANCE])
def test_a_difference_within_the_tolerance_is_no_error_of_the_clock(error: float) -> None:
    clock = Clock()
    subject = signer(clock)
    subject.renew(subject.token, hub_time=clock.now - error)
    assert subject.clock_error == 0.0
    assert subject.expires == NOON + LIFETIME


def test_a_hub_that_does_not_tell_its_time_gets_a_token_by_this_machine_s() -> None:
    clock = Clock()
    subject = signer(clock)
    refused = subject.token
    clock.now += 10
    subject.renew(refused)
    assert subject.token != refused
    assert subject.expires == NOON + 10 + LIFETIME


def test_what_was_learned_of_the_clock_is_kept_where_the_hub_does_not_tell_its_time() -> None:
    clock = Clock()
    subject = signer(clock)
    subject.renew(subject.token, hub_time=clock.now - HOUR)
    clock.now += 10
    subject.renew(subject.token)
    assert subject.clock_error == HOUR
    assert subject.expires == NOON + 10 - HOUR + LIFETIME


def test_a_crowd_of_refusals_signs_once() -> None:
    clock = Clock()
    subject = signer(clock)
    refused = subject.token
    seen = set()
    for _ in range(1000):
        clock.now += 1
        subject.renew(refused, hub_time=clock.now)
        seen.add(subject.token)
    assert len(seen) == 1
    assert refused not in seen


def test_a_signer_shows_its_policy_and_never_its_key() -> None:
    assert repr(signer(Clock())) == f"<Signer full for {AUDIENCE}, until {NOON + 3600}>"
    assert KEYS["full"] not in repr(signer(Clock()))
