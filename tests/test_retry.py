"""A verdict follows from status, headers and words, a halt from the answers so far, a rest from full jitter."""

import statistics
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.errors import Halt, InputError
from bulkload.record import Origin, Record
from bulkload.retry import (
    Backoff,
    Cause,
    History,
    Judgment,
    Outage,
    Reach,
    Traits,
    Unknown,
    Verdict,
    judge,
    retry_after,
)
from bulkload.retry.backoff import LONGEST_REFUSED_REST, LONGEST_REST, SHORTEST_REST
from bulkload.retry.history import PATIENCE_FORGETS, REST_OF_BARE_403, TRIES_OF_BARE_403
from bulkload.retry.traits import GONE_AFTER, LONGEST_RETRY_AFTER, PATIENCE
from bulkload.retry.unknown import MOST_TOLD
from bulkload.retry.verdict import HALTING, TRANSIENT
from bulkload.retry.words import LONGEST_RAW, described, said
from bulkload.source import START
from bulkload.wire import OK, Answer, Fault

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GUID = "cc8c4f9b-fd82-4cfa-8f99-7a089eb4cd69"
TRACKED = f"TrackingId {GUID}_G3"
NOON = 1_700_000_000.0


def describe(given: Answer, *, hide: Sequence[str] = ()) -> str:
    """An answer on one line."""
    return described(given, said(given, hide=hide))


def body(status: int, words: str) -> bytes:
    """An error's body in the service's form: the tracking runs straight into the words."""
    tracking = f"TrackingId:{GUID}_G3,TimeStamp:11/7/2018 12:18:37 AM"
    return f"<Error><Code>{status}</Code><Detail>{words}.{tracking}</Detail></Error>".encode()


def answer(status: int, words: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, headers or {}, b"" if words is None else body(status, words))


class Case(NamedTuple):
    """An answer, and the verdict it deserves; where it refuses, by which cause, and whether it is one that is known."""

    answer: Answer
    verdict: Verdict
    cause: Cause | None = None
    is_understood: bool = True


SOON = {"Retry-After": "5"}

CASES = {
    "accepted": Case(OK, Verdict.ACCEPT),
    "created": Case(answer(201), Verdict.ACCEPT),
    "validation of 2020": Case(
        answer(400, "Installation validation failed with following error(s):&#xD;\n'PushChannel' is required.&#xD;\n"),
        Verdict.REJECT,
    ),
    "bad tags of 2017": Case(
        answer(400, "An invalid tag(s) ',x' was supplied. Valid tag characters are alphanumeric, _, @, -, ., : and #."),
        Verdict.REJECT,
    ),
    "service's own tags of 2023": Case(answer(400, "Tags can not start with $"), Verdict.REJECT),
    "bad request without a word": Case(answer(400), Verdict.REJECT),
    "a tag named like a cause": Case(answer(400, "An invalid tag 'quota throttled' was supplied"), Verdict.REJECT),
    "wrong signature": Case(answer(401, "InvalidSignature: The token has an invalid signature."), Verdict.HALT),
    "missing claim": Case(answer(401, "Manage claim is required for this operation."), Verdict.HALT),
    "wrong audience": Case(answer(401, "40104: Invalid authorization token audience."), Verdict.HALT),
    "bare 403 of 2022": Case(answer(403, None, {"TrackingId": GUID}), Verdict.THROTTLE, Cause.UNTOLD),
    "403 with words for nothing": Case(answer(403, "Forbidden"), Verdict.THROTTLE, Cause.UNTOLD, is_understood=False),
    "403 with a Detail of tracking alone": Case(answer(403, ""), Verdict.THROTTLE, Cause.UNTOLD, is_understood=False),
    "403 of a web page": Case(Answer(403, {}, b"<html>No</html>"), Verdict.THROTTLE, Cause.UNTOLD, is_understood=False),
    "bare 403 with Retry-After": Case(answer(403, None, SOON), Verdict.THROTTLE, Cause.THROTTLE),
    "403 with garbage as Retry-After": Case(
        answer(403, None, {"Retry-After": "soon"}), Verdict.THROTTLE, Cause.THROTTLE
    ),
    "403 of any form with Retry-After": Case(Answer(403, SOON, b"<html>"), Verdict.THROTTLE, Cause.THROTTLE),
    "throttled": Case(answer(403, "The request was throttled"), Verdict.THROTTLE, Cause.THROTTLE),
    "throttled in another form": Case(
        Answer(403, {}, b'{"error": "Too many requests"}'), Verdict.THROTTLE, Cause.THROTTLE, is_understood=False
    ),
    "throttle over two lines": Case(answer(403, "Too many\n  requests"), Verdict.THROTTLE, Cause.THROTTLE),
    "quota": Case(answer(403, "The namespace's quota is exceeded, it's full"), Verdict.THROTTLE, Cause.QUOTA),
    "too many installations": Case(answer(403, "Too many installations"), Verdict.THROTTLE, Cause.QUOTA),
    "too many registrations": Case(answer(403, "TOO MANY REGISTRATIONS"), Verdict.THROTTLE, Cause.QUOTA),
    "quota with Retry-After": Case(answer(403, "The quota is exceeded", SOON), Verdict.THROTTLE, Cause.THROTTLE),
    "no right": Case(answer(403, "Manage claim is required for this operation."), Verdict.HALT, Cause.RIGHT),
    "no right with Retry-After": Case(answer(403, "Unauthorized access", SOON), Verdict.THROTTLE, Cause.THROTTLE),
    "another service's missing right": Case(
        answer(403, "Unauthorized access. 'Send' claim(s) are required to perform this operation."),
        Verdict.HALT,
        Cause.RIGHT,
    ),
    "right before tier": Case(
        answer(403, "Not authorized; Manage claim is required in the Free tier"), Verdict.HALT, Cause.RIGHT
    ),
    "tier": Case(answer(403, "This operation is not available for your tier"), Verdict.HALT, Cause.FEATURE),
    "no such hub": Case(answer(404, "No service is hosted at the specified address."), Verdict.HALT),
    "404 of 2018 with tracking alone": Case(answer(404, ""), Verdict.HALT),
    "method": Case(answer(405, "PUT is not supported here"), Verdict.HALT),
    "proxy": Case(answer(407), Verdict.HALT),
    "timeout": Case(answer(408), Verdict.RETRY),
    "conflict": Case(answer(409, "SubCode=40900. Conflict"), Verdict.RETRY),
    "gone": Case(answer(410), Verdict.REJECT),
    "precondition": Case(answer(412), Verdict.REJECT),
    "too large": Case(answer(413, "The request's body is larger than 1048576 bytes"), Verdict.REJECT),
    "unprocessable": Case(answer(422), Verdict.REJECT, is_understood=False),
    "429": Case(answer(429), Verdict.THROTTLE, Cause.THROTTLE),
    "429 with Retry-After": Case(answer(429, "Too many requests", SOON), Verdict.THROTTLE, Cause.THROTTLE),
    "429 that speaks of a quota": Case(answer(429, "The quota is exceeded"), Verdict.THROTTLE, Cause.THROTTLE),
    "429 that speaks of a right": Case(answer(429, "Manage claim is required"), Verdict.THROTTLE, Cause.THROTTLE),
    "500": Case(answer(500, "The server was unable to process the request"), Verdict.RETRY),
    "501": Case(answer(501), Verdict.RETRY, is_understood=False),
    "502": Case(Answer(502, {}, b"<html><body>Bad Gateway</body></html>"), Verdict.RETRY),
    "503": Case(answer(503, "It is out of order"), Verdict.RETRY),
    "503 that asks to come back": Case(answer(503, None, SOON), Verdict.RETRY, Cause.THROTTLE),
    "503 that throttles": Case(answer(503, "The request was throttled"), Verdict.RETRY, Cause.THROTTLE),
    "504": Case(answer(504), Verdict.RETRY),
    "599": Case(answer(599), Verdict.RETRY, is_understood=False),
    "no content": Case(answer(204), Verdict.HALT, is_understood=False),
    "redirect": Case(answer(301, None, {"Location": "https://example.com/"}), Verdict.HALT, is_understood=False),
    "a web page": Case(Answer(302, {}, b"<html>Sign in</html>"), Verdict.HALT, is_understood=False),
}


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_follows_from_status_headers_and_words(name: str) -> None:
    case = CASES[name]
    judgment = judge(case.answer)
    assert (judgment.verdict, judgment.cause, judgment.is_understood) == case[1:]
    if case.verdict is not Verdict.ACCEPT:
        assert describe(case.answer) in judgment.reason


@pytest.mark.parametrize("fault", Fault)
def test_a_request_without_an_answer_is_tried_again_and_its_fault_is_told(fault: Fault) -> None:
    judgment = judge(Answer(0, fault=fault, words="Connection refused"))
    assert judgment.verdict is Verdict.RETRY
    assert judgment.reason == f"{fault.value}: Connection refused"


@pytest.mark.parametrize("status", sorted(HALTING))
def test_an_answer_that_stops_the_run_says_what_to_check(status: int) -> None:
    assert judge(answer(status, "No")).reason == f"{HALTING[status]} ({status} No, {TRACKED})"
    assert "; check " in HALTING[status]


@UNHURRIED
@given(status=st.integers(100, 599), headers=st.sampled_from([{}, SOON]), words=st.none() | st.text(max_size=30))
def test_every_status_has_a_verdict_and_only_200_and_201_are_accepted(
    status: int, headers: dict[str, str], words: str | None
) -> None:
    judgment = judge(Answer(status, headers, (words or "").encode()))
    assert (judgment.verdict is Verdict.ACCEPT) == (status in (200, 201))
    assert (judgment.verdict is Verdict.RETRY) == (status in TRANSIENT or status >= 500)
    is_cause_told = status in (403, 429) or (status == 503 and "Retry-After" in headers)
    assert (judgment.cause is None) == (not is_cause_told)


# The specification's sentences, hub-api.md's, the emulator's, and likely ones.
THROTTLES = [
    "Quota exceeded; request rejected because registration operations rate is too high.",
    "Request rejected because registration operations rate is too high",
    "Throttling limit reached",
    "THROTTLED",
    "Too Many Requests, slow down",
    "The request rate is too high",
    "The server is busy",
    "Rate limit is exceeded. Try again in 5 seconds",
    "The free tier takes 100 operations per second; upgrade to a higher tier for more",
    "Too many requests for your SKU: this sku is not authorized for more",
    "The quota of requests per minute for your tier is exceeded",
]
FULL = [
    "Quota exceeded; too many registrations in this namespace. Registration not created",
    "Too many installations in this namespace - Installations not created.",
    "Quota exceeded: this namespace has too many installations",
    "The device quota is used up",
    "The maximum number of devices of the Free tier is reached; upgrade to Basic",
]
NO_RIGHT = [
    "Manage claim is required for this operation.",
    "'Manage' claim is required for this operation",
    "Unauthorized access. 'Listen' claim(s) are required to perform this operation",
    "The policy is not authorized for this",
    "The key does not have permission to write",
]
NO_FEATURE = [
    "This operation is not available for your tier",
    "Browser push is not supported in the Free tier",
    "FCM v1 is not supported by your SKU",
    "Please upgrade to Standard to use this",
]
UNTOLD = ["Forbidden", "Access is forbidden", "The operation was refused", "Service temporarily not available", "No"]
SENTENCES = [
    *((words, Cause.THROTTLE) for words in THROTTLES),
    *((words, Cause.QUOTA) for words in FULL),
    *((words, Cause.RIGHT) for words in NO_RIGHT),
    *((words, Cause.FEATURE) for words in NO_FEATURE),
    *((words, Cause.UNTOLD) for words in UNTOLD),
]


@pytest.mark.parametrize("was_accepted", [False, True])
@pytest.mark.parametrize(("words", "cause"), SENTENCES)
def test_the_words_of_a_403_tell_its_cause(words: str, cause: Cause, was_accepted: bool) -> None:
    for told in (words, words.upper(), words.replace(" ", "\r\n ")):
        assert judge(answer(403, told), was_accepted=was_accepted).cause is cause


@pytest.mark.parametrize(("words", "cause"), SENTENCES)
def test_what_a_403_means_depends_on_its_cause_and_for_a_feature_on_what_came_before(words: str, cause: Cause) -> None:
    before, after = (judge(answer(403, words), was_accepted=was_accepted) for was_accepted in (False, True))
    match cause:
        case Cause.RIGHT:
            assert before == after
            assert before.verdict is Verdict.HALT
            assert "check its claims Manage, Send, Listen" in before.reason
        case Cause.FEATURE:
            assert (before.verdict, after.verdict) == (Verdict.HALT, Verdict.REJECT)
            assert "tier" in before.reason
            assert after.reason == describe(answer(403, words))
        case _:
            assert before == after
            assert before.verdict is Verdict.THROTTLE


MPNS = "http://dm2.notify.live.net/throttledthirdparty/01.00/AQG9Ed13-Lb5RbCii5fWzpFp"


@pytest.mark.parametrize(
    "words",
    [
        "The tag 'quota throttled' is refused",
        "The tag &quot;not authorized&quot; is refused",
        f"The channel {MPNS} is refused",
        f"The channel {MPNS.upper()} is refused",
        "The channel a-throttling-quota-of-my-own is refused",
    ],
)
def test_what_the_hub_repeats_of_a_record_tells_no_cause(words: str) -> None:
    assert judge(answer(403, words), hide=["a-throttling-quota-of-my-own"]).cause is Cause.UNTOLD


def test_a_value_that_is_short_does_not_tear_the_hub_s_words() -> None:
    judgment = judge(answer(403, "The request rate is too high for t"), hide=["t"])
    assert judgment.cause is Cause.THROTTLE
    assert "for …" in judgment.reason


def test_a_cause_is_found_behind_what_a_line_bears_of_the_words() -> None:
    assert judge(answer(403, "x " * 500 + "throttled")).cause is Cause.THROTTLE


@pytest.mark.parametrize(
    ("traits", "given_answer", "verdict", "cause"),
    [
        (Traits(throttle_words=("langsamer",)), answer(403, "Langsamer!"), Verdict.THROTTLE, Cause.THROTTLE),
        (Traits(throttle_words=()), answer(403, "throttled"), Verdict.THROTTLE, Cause.UNTOLD),
        (Traits(throttle_words=("STRASSE",)), answer(403, "straße"), Verdict.THROTTLE, Cause.THROTTLE),
        (Traits(quota_words=("voll",)), answer(403, "Alles voll"), Verdict.THROTTLE, Cause.QUOTA),
        (Traits(right_words=("darf nicht",)), answer(403, "Er darf nicht"), Verdict.HALT, Cause.RIGHT),
        (Traits(feature_words=("gold only",)), answer(403, "Gold only"), Verdict.HALT, Cause.FEATURE),
        (Traits(throttle_statuses=(420,)), answer(420), Verdict.THROTTLE, Cause.THROTTLE),
        (Traits(throttle_statuses=(503,)), answer(503, "No"), Verdict.THROTTLE, Cause.THROTTLE),
        (Traits(throttle_statuses=(503,)), answer(503, "The quota is used up"), Verdict.THROTTLE, Cause.QUOTA),
        (Traits(throttle_statuses=(503,)), answer(503, "The quota is used up", SOON), Verdict.THROTTLE, Cause.THROTTLE),
        (Traits(throttle_statuses=(403,)), answer(403), Verdict.THROTTLE, Cause.THROTTLE),
        (Traits(retry_statuses=(404,)), answer(404), Verdict.RETRY, None),
        (Traits(retry_statuses=(403,)), answer(403, "throttled"), Verdict.RETRY, None),
        (Traits(retry_statuses=(520,)), answer(520), Verdict.RETRY, None),
        (Traits(retry_statuses=(520,)), answer(422), Verdict.REJECT, None),
    ],
)
def test_words_and_statuses_are_settings(
    traits: Traits, given_answer: Answer, verdict: Verdict, cause: Cause | None
) -> None:
    judgment = judge(given_answer, traits=traits)
    assert (judgment.verdict, judgment.cause) == (verdict, cause)


def test_a_status_that_a_setting_names_is_known() -> None:
    traits = Traits(retry_statuses=(520,), throttle_statuses=(420,))
    statuses = (420, 520, 521)
    assert [judge(answer(status, "No"), traits=traits).is_understood for status in statuses] == [True, True, False]


@pytest.mark.parametrize(
    ("traits", "words"),
    [
        ({"throttle_words": "throttled"}, "[hub] throttle-words is a list of texts of at least 3 characters, not 'thr"),
        ({"throttle_words": ("",)}, "[hub] throttle-words is a list of texts"),
        ({"quota_words": ("   ",)}, "[hub] quota-words is a list of texts"),
        ({"right_words": ("no",)}, "[hub] right-words is a list of texts"),
        ({"feature_words": (5,)}, "[hub] feature-words is a list of texts"),
        ({"throttle_statuses": 420}, "[hub] throttle-statuses is a list of statuses from 400 to 599, not 420"),
        ({"throttle_statuses": (200,)}, "[hub] throttle-statuses is a list of statuses"),
        ({"retry_statuses": (600,)}, "[hub] retry-statuses is a list of statuses"),
        ({"retry_statuses": ("520",)}, "[hub] retry-statuses is a list of statuses"),
        ({"retry_statuses": (True,)}, "[hub] retry-statuses is a list of statuses"),
        (
            {"retry_statuses": (520, 420), "throttle_statuses": (420,)},
            "[hub] has 420 both in throttle-statuses and in retry-statuses; take one away",
        ),
        ({"longest_retry_after": 0}, "[hub] longest-retry-after is above 0, a day at most, not 0"),
        ({"longest_retry_after": 86_401}, "[hub] longest-retry-after is above 0"),
        ({"longest_retry_after": "5m"}, "[hub] longest-retry-after is above 0"),
        ({"longest_retry_after": float("nan")}, "[hub] longest-retry-after is above 0"),
        ({"patience": -1}, "[hub] patience is above 0, a week at most, not -1"),
        ({"patience": float("inf")}, "[hub] patience is above 0"),
        ({"patience": True}, "[hub] patience is above 0"),
        ({"gone_after": 0}, "[hub] gone-after is at least 1, not 0"),
        ({"gone_after": 2.5}, "[hub] gone-after is at least 1"),
    ],
    ids=str,
)
def test_traits_of_no_use_are_refused_in_one_line(traits: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Traits(**traits)
    assert str(caught.value).startswith(words)
    assert len(str(caught.value).splitlines()) == 1


def test_traits_are_kept_as_what_cannot_change() -> None:
    words = ["slow down"]
    traits = Traits(throttle_words=words)  # type: ignore[arg-type]
    words.append("anything")
    assert traits == Traits(throttle_words=("slow down",))
    assert hash(traits) == hash(Traits(throttle_words=("slow down",)))


@pytest.mark.parametrize(
    ("given_answer", "expected"),
    [
        (answer(404, "Installation not found"), f"404 Installation not found, {TRACKED}"),
        (answer(401, "40104: Wrong."), f"401 40104: Wrong., {TRACKED}"),
        (answer(409, "SubCode=40900. Conflict"), f"409 SubCode=40900. Conflict, {TRACKED}"),
        (answer(404, ""), f"404 without a word, {TRACKED}"),
        (answer(403), "403 without a word"),
        (answer(403, None, {"TrackingId": "c0f4"}), "403 without a word, TrackingId c0f4"),
        (answer(400, "Bad", {"TrackingId": "c0f4"}), "400 Bad, TrackingId c0f4"),
        (
            answer(
                400, "Installation validation failed with following error(s):&#xD;\n'PushChannel' is required.&#xD;\n"
            ),
            f"400 Installation validation failed with following error(s): 'PushChannel' is required., {TRACKED}",
        ),
        (
            Answer(
                401, {}, b"<Error><Detail>Wrong.TrackingId:7cf7cb94-9041,TimeStamp:2019-06-01T15:25Z</Detail></Error>"
            ),
            "401 Wrong, TrackingId 7cf7cb94-9041",
        ),
        (
            Answer(400, {}, b"<Error>\n     <Code>400</Code>\n     <Detail>a\n b</Detail>\n</Error>"),
            "400 a b",
        ),
        (Answer(400, {}, b"<Error><Detail>&lt;a&gt; &amp;amp; &quot;b&quot;</Detail></Error>"), '400 <a> &amp; "b"'),
        (Answer(502, {}, b"<html>\r\n<h1>Bad\tGateway</h1>\r\n"), "502 <html> <h1>Bad Gateway</h1>"),
        (Answer(500, {}, b"Down.TrackingId:abc_G1"), "500 Down, TrackingId abc_G1"),
        (Answer(500, {}, b"\xff\xfe\x00"), "500 \ufffd\ufffd"),
        (Answer(500, {}, b"TrackingId"), "500 TrackingId"),
        (Answer(500, {}, b"<Error><Detail></Detail></Error>"), "500 without a word"),
    ],
)
def test_an_answer_is_described_by_status_words_and_tracking_id(given_answer: Answer, expected: str) -> None:
    assert describe(given_answer) == expected


@UNHURRIED
@given(data=st.binary() | st.text().map(lambda text: body(500, text)))
def test_whatever_a_hub_says_is_described_in_one_short_line(data: bytes) -> None:
    line = describe(Answer(500, {}, data * 20))
    assert len(line.splitlines()) == 1
    assert len(line) < 400


@pytest.mark.parametrize("control", ["\x1b[2J", "\x07", "\x08", "\x00", "\x9b31m", "\u202e"])
def test_what_a_hub_says_cannot_steer_a_terminal(control: str) -> None:
    assert describe(Answer(500, {}, f"a{control}b".encode())).isprintable()


CHANNEL = "https://push.example.com/?token=" + "Ab%2b" * 100


@pytest.mark.parametrize("before", [0, 250, 290, 299, 300, 1000])
@pytest.mark.parametrize("shown", [CHANNEL, CHANNEL.upper(), CHANNEL.lower(), CHANNEL.replace("&", "&amp;")])
def test_what_is_to_be_hidden_is_cut_out_of_the_words_before_they_are_shortened(before: int, shown: str) -> None:
    words = "x" * before + f" the channel {shown} is gone, {shown}"
    line = describe(answer(400, words), hide=[CHANNEL])
    assert "push.example" not in line.lower()
    assert "token" not in line.lower()
    assert judge(answer(400, words), hide=[CHANNEL]).reason == line


def test_what_is_hidden_leaves_the_rest_of_the_words() -> None:
    given_answer = answer(400, "The handle a+b (A+B) of x is bad")
    assert describe(given_answer, hide=["a+b", "nowhere"]) == f"400 The handle … (…) of x is bad, {TRACKED}"
    assert describe(given_answer) == f"400 The handle a+b (A+B) of x is bad, {TRACKED}"


def test_a_description_tells_no_time_and_no_more_than_the_words() -> None:
    assert "TimeStamp" not in describe(answer(400, "Bad"))
    assert describe(answer(400, "x" * 10_000)).count("x") == 300


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        (" 5 ", 5.0),
        ("0", 0.0),
        ("007", 7.0),
        ("300", 300.0),
        ("301", LONGEST_RETRY_AFTER),
        ("86400", LONGEST_RETRY_AFTER),
        ("9" * 400, LONGEST_RETRY_AFTER),
        (formatdate(NOON + 42, usegmt=True), 42.0),
        (formatdate(NOON + 42), 42.0),
        (formatdate(NOON - 42, usegmt=True), 0.0),
        (formatdate(NOON + 86400, usegmt=True), LONGEST_RETRY_AFTER),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Wed, 15 Nov 2023 00:13:30 +0200", 10.0),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_has_a_limit(value: str, seconds: float) -> None:
    assert retry_after(Answer(429, {"Retry-After": value}), now=lambda: NOON) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "soon",
        "-5",
        "1.5",
        "5s",
        "1e3",
        "\u0665",
        "\u00b2",
        "5, 6",
        "Tue",
        "Tue, 99 Nov 2023 22:13:30 GMT",
        "nan",
    ],
)
def test_a_retry_after_that_says_nothing_is_as_good_as_none(value: str) -> None:
    assert retry_after(Answer(429, {"Retry-After": value}), now=lambda: NOON) is None


@pytest.mark.parametrize(("value", "seconds"), [("5", 5.0), ("11", 10.0), (formatdate(NOON + 42), 10.0)])
def test_the_longest_retry_after_is_a_setting(value: str, seconds: float) -> None:
    assert retry_after(Answer(429, {"Retry-After": value}), longest=10.0, now=lambda: NOON) == seconds


def test_an_answer_without_retry_after_does_not_say_how_long() -> None:
    assert retry_after(answer(429), now=lambda: NOON) is None


@UNHURRIED
@given(value=st.text() | st.from_regex(r"(Mon, )?\d{1,3} Nov \d{1,5} \d\d:\d\d:\d\d( GMT| [+-]\d{4})?", fullmatch=True))
def test_whatever_retry_after_says_is_none_or_within_the_limit(value: str) -> None:
    seconds = retry_after(Answer(429, {"Retry-After": value}), now=lambda: NOON)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER


BEYOND_DATES = [
    "21 Oct 99999999999999999999 07:28:00 GMT",
    "Wed, 21 Oct 2015 07:28:00 +99999999999999",
    "Wed, 21 Oct 2015 99999999999:28:00 GMT",
]


@pytest.mark.parametrize("value", BEYOND_DATES)
def test_a_date_beyond_all_dates_is_as_good_as_none(value: str) -> None:
    assert retry_after(Answer(429, {"Retry-After": value}), now=lambda: NOON) is None


@pytest.mark.parametrize("value", BEYOND_DATES)
def test_a_date_beyond_all_dates_is_not_the_hub_s_time(value: str) -> None:
    assert Answer(401, {"Date": value}).date is None


@pytest.mark.parametrize("error", [-3600.0, 3600.0])
def test_a_date_means_as_long_as_it_is_past_the_answer_s_own(error: float) -> None:
    headers = {"Date": formatdate(NOON, usegmt=True), "Retry-After": formatdate(NOON + 10, usegmt=True)}
    assert retry_after(Answer(429, headers), now=lambda: NOON + error) == 10.0


@pytest.mark.parametrize("most", [1, 2, 8, 100])
def test_a_record_has_had_enough_after_its_last_attempt(most: int) -> None:
    backoff = Backoff(max_attempts=most)
    rests = [backoff.rest(attempts, 0.0, 0.0) for attempts in range(1, most + 1)]
    assert None not in rests[:-1]
    assert rests[-1] is None


@pytest.mark.parametrize("began", [0.0, 1e9, -5.0])
def test_a_record_has_had_enough_once_its_time_is_over(began: float) -> None:
    backoff = Backoff(max_attempts=100, record_timeout=30.0)
    assert backoff.rest(1, began, began + 29.9) is not None
    assert backoff.rest(1, began, began + 30.0) is None
    assert backoff.rest(99, began, began + 29.9) is not None
    assert backoff.rest(1, began, began + 1e6) is None


@pytest.mark.parametrize("attempts", [1, 2, 3, 7, 8, 9, 20])
def test_a_rest_is_anything_up_to_a_bound_that_doubles(attempts: int) -> None:
    bound = min(LONGEST_REST, SHORTEST_REST * 2 ** (attempts - 1))
    backoff = Backoff(max_attempts=100)
    rests = [rest for _ in range(2000) if (rest := backoff.rest(attempts, 0.0, 0.0)) is not None]
    assert len(rests) == 2000
    assert 0 <= min(rests) < bound * 0.05
    assert bound * 0.95 < max(rests) <= bound
    # Full jitter's mean is half the bound; here within nine standard deviations of it.
    assert bound * 0.44 < statistics.mean(rests) < bound * 0.56


def test_no_number_of_attempts_is_too_large() -> None:
    rest = Backoff(max_attempts=10**9).rest(10**5, 0.0, 0.0)
    assert rest is not None
    assert 0 <= rest <= LONGEST_REST


def test_the_default_spreads_a_record_s_attempts_over_half_a_minute() -> None:
    backoff = Backoff()
    spans = [sum(backoff.rest(attempts, 0.0, 0.0) or 0.0 for attempts in range(1, 8)) for _ in range(1000)]
    assert 28 < statistics.mean(spans) < 36
    assert backoff.rest(8, 0.0, 0.0) is None


def test_what_the_hub_asks_for_comes_before_the_rest() -> None:
    backoff = Backoff()
    rests = [backoff.rest(1, 0.0, 0.0, at_least=20.0) or 0.0 for _ in range(1000)]
    assert 20.0 <= min(rests) < max(rests) <= 20.0 + SHORTEST_REST
    assert Backoff(max_attempts=1).rest(1, 0.0, 0.0, at_least=20.0) is None


def test_rests_follow_from_their_random_source_and_their_bounds() -> None:
    def rests(seed: int) -> list[float | None]:
        backoff = Backoff(shortest=2.0, longest=5.0, random=Random(seed))
        return [*(backoff.rest(attempts, 0.0, 0.0) for attempts in range(1, 8)), *map(backoff.refused, range(8))]

    assert rests(1) == rests(1) != rests(2)
    most = [max(rests(seed)[number] or 0.0 for seed in range(200)) for number in range(7)]
    assert most == pytest.approx([2.0, 4.0, 5.0, 5.0, 5.0, 5.0, 5.0], rel=0.05)


@pytest.mark.parametrize(
    ("refusals", "bound"),
    [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.25), (4, 0.5), (5, 1.0), (9, 16.0), (10, LONGEST_REFUSED_REST), (10**6, 30.0)],
)
def test_a_record_that_is_refused_again_and_again_rests_ever_longer(refusals: int, bound: float) -> None:
    rests = [Backoff(random=Random(seed)).refused(refusals) for seed in range(500)]
    assert bound / 2 <= min(rests) <= bound * 0.51
    assert bound * 0.99 <= max(rests) <= bound


@pytest.mark.parametrize("most", [0, -1])
def test_less_than_one_attempt_is_refused(most: int) -> None:
    with pytest.raises(InputError, match=r"^--max-attempts is at least 1$"):
        Backoff(max_attempts=most)


BARE = judge(answer(403))
EXPLICIT = judge(answer(429))
FULL_UP = judge(answer(403, "The quota is used up"))
UNREACHED = Answer(0, fault=Fault.CONNECT, words="Connection refused")


def a_record() -> Record:
    return Record(Origin(0, b"{}", START), 0, "a", b"{}")


# Where it does not matter whose answer it is.
RECORD = a_record()


def failed(history: History, given_answer: Answer, record: Record | None = None) -> None:
    history.failed(record or a_record(), given_answer, judge(given_answer))


def unanswered(history: History, given_answer: Answer = UNREACHED) -> None:
    failed(history, given_answer)


def halt(history: History, *, refusal: Judgment | None = None, now: float = 0.0, lost: Answer = UNREACHED) -> str:
    """The line of the halt that the next answer brings."""

    def answer() -> None:
        if refusal is not None:
            history.throttled(RECORD, refusal, now)
        else:
            unanswered(history, lost)

    with pytest.raises(Halt) as caught:
        answer()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_hub_that_was_never_reached_gets_a_few_tries_further_and_further_apart() -> None:
    history = History(was_accepted=True, now=0.0)
    for _ in range(3):
        unanswered(history)
    assert history.reach is Reach.UNKNOWN
    assert halt(history) == (
        "the hub cannot be reached: no connection: Connection refused; "
        "check the Endpoint of the connection string, and the network"
    )


def test_a_hub_that_is_not_trusted_is_not_asked_again() -> None:
    history = History(was_accepted=False, now=0.0)
    message = halt(history, lost=Answer(0, fault=Fault.TLS, words="self-signed certificate"))
    assert message == (
        "the hub is not trusted: no trusted TLS connection: self-signed certificate; "
        "give its certificate authority with --ca-file"
    )


@pytest.mark.parametrize("fault", Fault)
def test_a_hub_that_answered_once_is_never_given_up(fault: Fault) -> None:
    history = History(was_accepted=False, now=0.0)
    history.answered()
    for _ in range(10_000):
        unanswered(history, Answer(0, fault=fault))
    assert history.reach is Reach.GONE


def test_a_hub_is_gone_after_so_many_requests_in_a_row_and_present_with_its_next_answer() -> None:
    history = History(was_accepted=False, now=0.0)
    seen = [repr(history)]
    for lost in (GONE_AFTER - 1, GONE_AFTER - 1, GONE_AFTER, GONE_AFTER - 1):
        history.answered()
        for _ in range(lost):
            unanswered(history)
        seen.append(repr(history))
    assert seen == [
        "<History: the hub never answered in this session>",
        "<History: the hub answers>",
        "<History: the hub answers>",
        "<History: the hub answered before, and does no more>",
        "<History: the hub answers>",
    ]


@pytest.mark.parametrize("lost", [answer(500), Answer(0, fault=Fault.BROKEN)])
def test_a_record_that_fails_while_the_hub_works_on_others_tells_nothing_of_the_hub(lost: Answer) -> None:
    history = History(was_accepted=True, now=0.0)
    history.answered()
    poison = [a_record() for _ in range(40)]
    for record in poison:
        failed(history, lost, record)
    for _ in range(200):
        history.answered()
        history.accepted()
    for _ in range(7):
        for record in poison:
            failed(history, lost, record)
    assert all(record.is_suspect for record in poison)
    assert not history.is_failing
    assert not history.is_down
    assert history.reach is Reach.PRESENT


@pytest.mark.parametrize("part", [0.55, 0.7, 0.9])
def test_where_most_requests_fail_no_record_is_suspect(part: float) -> None:
    history = History(was_accepted=True, now=0.0)
    history.answered()
    dice = Random(1)
    records = [a_record() for _ in range(300)]
    for _ in range(10):
        for record in records:
            if dice.random() < part:
                failed(history, answer(500), record)
            else:
                history.accepted()
    assert not any(record.is_suspect for record in records)
    assert history.is_failing


def test_a_connection_that_could_not_be_made_is_no_record_s_fault() -> None:
    history = History(was_accepted=True, now=0.0)
    history.answered()
    record = a_record()
    failed(history, answer(500), record)
    for _ in range(10):
        history.accepted()
    for _ in range(GONE_AFTER):
        failed(history, UNREACHED, record)
    assert record.is_suspect
    assert history.reach is Reach.GONE


@pytest.mark.parametrize("length", [16, 40, 99])
def test_what_is_hidden_is_cut_out_where_an_answer_cuts_it_short(length: int) -> None:
    value = "".join(map(str, range(1000)))[:100]
    line = describe(answer(400, f"not this: {value[:length].upper()} and {value[:length]}… then"), hide=[value])
    assert line == f"400 not this: … and …… then, {TRACKED}"


def test_what_only_begins_like_something_hidden_stays() -> None:
    assert describe(answer(400, "abcdefghijklmno, and no more"), hide=["abcdefghijklmnopqrst"]).startswith(
        "400 abcdefghijklmno, and no more"
    )


def test_a_403_without_a_cause_before_any_acceptance_is_asked_again_a_few_times() -> None:
    history = History(was_accepted=False, now=0.0)
    times = [number * REST_OF_BARE_403 for number in range(TRIES_OF_BARE_403 + 1)]
    assert [history.throttled(RECORD, BARE, now) for now in times[:-1]] == [REST_OF_BARE_403] * TRIES_OF_BARE_403
    message = halt(history, refusal=BARE, now=times[-1])
    assert message.startswith("the hub refuses every request: either the policy of the connection string has no right ")
    assert message.endswith("(403 without a word)")


def test_refusals_that_left_together_count_once() -> None:
    history = History(was_accepted=False, now=0.0)
    times = [number * REST_OF_BARE_403 for number in range(TRIES_OF_BARE_403 + 1)]
    for now in times[:-1]:
        assert [history.throttled(RECORD, BARE, now) for _ in range(64)] == [REST_OF_BARE_403] * 64
        assert history.throttled(RECORD, BARE, now + 0.5) == REST_OF_BARE_403 - 0.5
    assert halt(history, refusal=BARE, now=times[-1])


def test_an_acceptance_after_a_403_without_a_cause_makes_it_a_throttle() -> None:
    history = History(was_accepted=False, now=0.0)
    history.throttled(RECORD, BARE, 0.0)
    history.accepted()
    assert {history.throttled(RECORD, BARE, now) for now in range(100)} == {None}


@pytest.mark.parametrize("was_accepted", [False, True])
def test_a_throttle_that_says_so_is_believed_forever(was_accepted: bool) -> None:
    history = History(was_accepted=was_accepted, now=0.0)
    assert {history.throttled(RECORD, EXPLICIT, now * PATIENCE) for now in range(100)} == {None}


@pytest.mark.parametrize("was_accepted", [False, True])
def test_a_403_without_a_cause_after_an_acceptance_is_a_throttle_for_as_long_as_the_patience_lasts(
    was_accepted: bool,
) -> None:
    history = History(was_accepted=was_accepted, now=0.0)
    history.accepted()
    assert {history.throttled(RECORD, BARE, 100.0 + PATIENCE * part / 100) for part in range(101)} == {None}
    message = halt(history, refusal=BARE, now=101.0 + PATIENCE)
    assert message == "the hub has accepted nothing for 15 minutes (403 without a word); run it again later"


def test_each_acceptance_renews_the_patience() -> None:
    history = History(was_accepted=True, now=0.0)
    for now in range(0, 10_000, 600):
        history.accepted()
        assert history.throttled(RECORD, BARE, now) is None
        assert history.throttled(RECORD, BARE, now + PATIENCE) is None


@pytest.mark.parametrize("patience", [30.0, 90.0, 600.0])
def test_the_patience_is_a_setting(patience: float) -> None:
    history = History(was_accepted=True, now=0.0, traits=Traits(patience=patience))
    assert {history.throttled(RECORD, BARE, 100.0 + patience * part / 10) for part in range(11)} == {None}
    words = {30.0: "30 seconds", 90.0: "90 seconds", 600.0: "10 minutes"}[patience]
    assert f"accepted nothing for {words} (" in halt(history, refusal=BARE, now=101.0 + patience)


def test_the_patience_begins_with_the_first_refusal_without_a_cause_after_an_acceptance() -> None:
    history = History(was_accepted=True, now=0.0)
    for now in range(0, 1800, 60):
        assert history.throttled(RECORD, EXPLICIT, now) is None
    for now in range(1800, 2701, 60):
        assert history.throttled(RECORD, BARE, now) is None
    assert halt(history, refusal=BARE, now=2701.0)


@pytest.mark.parametrize("pause", [60.0, LONGEST_RETRY_AFTER])
def test_a_throttle_that_says_so_explains_those_without_a_cause(pause: float) -> None:
    history = History(was_accepted=True, now=0.0)
    assert history.throttled(RECORD, BARE, 0.0) is None
    now = 0.0
    while now <= 2 * PATIENCE:
        now += pause
        assert history.throttled(RECORD, EXPLICIT, now) is None
    since = now + 1
    assert {history.throttled(RECORD, BARE, since + part * PATIENCE / 10) for part in range(11)} == {None}
    assert halt(history, refusal=BARE, now=since + PATIENCE + 1)


def test_a_hub_that_works_on_records_does_not_refuse_every_request() -> None:
    # Each of its records is rejected, so that nothing was accepted yet.
    history = History(was_accepted=False, now=0.0)
    for now in range(0, 1000, 10):
        history.served()
        assert history.throttled(RECORD, BARE, now) == REST_OF_BARE_403


def test_an_hour_in_which_the_hub_was_gone_does_not_use_up_the_patience() -> None:
    history = History(was_accepted=True, now=0.0)
    assert history.throttled(RECORD, BARE, 0.0) is None
    later = PATIENCE + PATIENCE_FORGETS + LONGEST_RETRY_AFTER
    assert history.throttled(RECORD, BARE, later) is None
    assert history.throttled(RECORD, BARE, later + 100) is None


@pytest.mark.parametrize("was_accepted", [False, True])
def test_the_third_time_that_a_record_finds_the_namespace_full_stops_the_run(was_accepted: bool) -> None:
    history = History(was_accepted=was_accepted, now=0.0)
    records = [a_record() for _ in range(100)]
    for _ in range(2):
        assert {history.throttled(each, FULL_UP, 0.0) for each in records} == {None}
        history.accepted()
    with pytest.raises(Halt) as caught:
        history.throttled(records[50], FULL_UP, 0.0)
    message = str(caught.value)
    assert message.startswith("the namespace holds all the devices it may: devices must be split over namespaces; ")
    assert "what was accepted is kept" in message
    assert message.endswith(f"(403 The quota is used up, {TRACKED})")


def test_a_namespace_that_is_full_does_not_use_up_the_tries_of_a_403_without_a_cause() -> None:
    history = History(was_accepted=False, now=0.0)
    assert {history.throttled(a_record(), FULL_UP, number * 10.0) for number in range(20)} == {None}
    assert history.throttled(RECORD, BARE, 500.0) == REST_OF_BARE_403


@pytest.mark.parametrize("refusal", [BARE, EXPLICIT], ids=["bare", "explicit"])
def test_throttles_count_for_a_record_while_others_are_accepted(refusal: Judgment) -> None:
    history = History(was_accepted=True, now=0.0)
    alone = a_record()
    for now in range(10):
        history.accepted()
        for _ in range(3):
            history.throttled(alone, refusal, now)
    assert alone.refusals == 10


def test_throttles_do_not_count_for_a_record_while_nothing_is_accepted() -> None:
    one_of_many, first = a_record(), a_record()
    history = History(was_accepted=False, now=0.0)
    history.throttled(one_of_many, BARE, 0.0)
    history.accepted()
    history.throttled(first, BARE, 1.0)
    for now in range(100):
        history.throttled(one_of_many, BARE, now)
    assert (one_of_many.refusals, first.refusals) == (0, 1)


@pytest.mark.parametrize("number", [1, 3, 100])
def test_how_soon_a_hub_is_gone_is_a_setting(number: int) -> None:
    history = History(was_accepted=False, now=0.0, traits=Traits(gone_after=number))
    history.answered()
    reaches = []
    for _ in range(number):
        unanswered(history)
        reaches.append(history.reach)
    assert reaches == [Reach.PRESENT] * (number - 1) + [Reach.GONE]


def test_a_time_in_which_nothing_was_sent_does_not_use_up_the_patience() -> None:
    # A producer at the other end of a pipe paused for an hour; the first record after it meets a throttle.
    history = History(was_accepted=False, now=0.0)
    history.accepted()
    assert history.throttled(RECORD, BARE, 3600.0) is None


class Told:
    """What is told of the answers of a session, line by line."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._unknown = Unknown()

    def __call__(self, *answers: Answer, hide: Sequence[str] = ()) -> list[str]:
        self._caplog.clear()
        for each in answers:
            judgment = judge(each)
            assert not judgment.is_understood
            self._unknown.tell(each, judgment, hide=hide)
        assert {record.levelname for record in self._caplog.records} <= {"WARNING"}
        return self._caplog.messages


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


def test_what_is_not_known_is_told_with_its_status_its_body_and_its_tracking_id(told: Told) -> None:
    [line] = told(Answer(403, {}, body(403, "Forbidden")))
    assert line == (
        f"an answer that is not known is taken as throttle: status 403, TrackingId {GUID}_G3, "
        f"body {body(403, 'Forbidden').decode()}"
    )
    assert told(Answer(599, {"TrackingId": "t-1"})) == [
        "an answer that is not known is taken as retry: status 599, TrackingId t-1, body empty"
    ]


def test_what_is_not_known_is_told_once_whatever_its_numbers_and_times_are(told: Told) -> None:
    def numbered(number: int, half_day: str) -> bytes:
        tracking = f"TrackingId:{number:08x}-fd82_G{number},TimeStamp:11/{number}/2018 12:18:37 {half_day}"
        return f"<Error><Code>403</Code><Detail>Refused {number} 'id-{number}'.{tracking}</Detail></Error>".encode()

    assert len(told(*(answer(403, "Forbidden") for _ in range(100)))) == 1
    assert len(told(*(Answer(403, {}, numbered(number, half)) for number in range(9) for half in ("AM", "PM")))) == 1
    assert len(told(*(Answer(403, {}, b"<p>%d: 7/7/2018 1:00 AM ref b%04x" % (n, n)) for n in range(100)))) == 1
    assert len(told(answer(403, "Refused"), answer(403, "Not today"), answer(422, "Not today"))) == 2


def test_a_hub_that_never_says_the_same_twice_does_not_fill_the_log(told: Told) -> None:
    lines = told(*(Answer(403, {}, b"n" + b"o" * number) for number in range(1000)))
    assert len(lines) == MOST_TOLD
    assert [line.endswith("; others are not told any more") for line in lines] == [False] * (MOST_TOLD - 1) + [True]


@pytest.mark.parametrize("before", [0, LONGEST_RAW - 30, LONGEST_RAW])
@pytest.mark.parametrize(
    "shown",
    [
        CHANNEL,
        CHANNEL.upper(),
        CHANNEL.replace("&", "&amp;"),
        CHANNEL.replace("/", "&#x2F;"),
        CHANNEL.replace("=", "\\u003D").replace("%", "\\u0025"),
    ],
)
def test_no_push_channel_is_in_what_is_told(told: Told, shown: str, before: int) -> None:
    [line] = told(Answer(403, {}, f'{{"x": "{"x" * before} {shown} is bad"}}'.encode()), hide=[CHANNEL])
    assert "push.example" not in line.lower()
    assert "token" not in line.lower()


def test_what_is_told_is_one_printable_line_with_an_end(told: Told) -> None:
    for number, given_body in enumerate([b"\x1b[2J\x07\r\n" * 500, b"\xff\xfe" * 5000, b"y" * 10_000]):
        [line] = told(Answer(510 + number, {}, given_body))
        assert line.isprintable()
        assert len(line) < LONGEST_RAW + 100


def test_an_outage_is_told_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    outage.begin(10.0, "the hub does not answer any more (reset)")
    outage.begin(20.0, "most requests fail (500)")
    assert outage.length(52.0) == 42.0
    outage.end(52.0)
    assert outage.length(60.0) == 0.0
    assert caplog.messages == [
        "the hub does not answer any more (reset); records in hand wait, and the run goes on by itself",
        "the hub works again after 42 s",
    ]


def test_a_hub_that_comes_and_goes_does_not_fill_a_log(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for second in range(180):
        outage.begin(second, "most requests fail")
        outage.end(second + 0.5)
    assert len(caplog.messages) == 6
