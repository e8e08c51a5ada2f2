"""A verdict follows from status, headers and words, a halt from the answers so far, a rest from full jitter."""

import statistics
from collections.abc import Mapping
from email.utils import formatdate
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.errors import Halt, InputError
from bulkload.retry import Backoff, History, Judgment, Reach, Verdict, describe, judge, retry_after
from bulkload.retry.backoff import LONGEST_REST, SHORTEST_REST
from bulkload.retry.history import GONE_AFTER, PATIENCE, REST_OF_BARE_403, REST_TO_REACH, TRIES_OF_BARE_403
from bulkload.retry.verdict import HALTING, LONGEST_RETRY_AFTER, TRANSIENT
from bulkload.wire import OK, Answer, Fault

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GUID = "cc8c4f9b-fd82-4cfa-8f99-7a089eb4cd69"
TRACKED = f"TrackingId {GUID}_G3"
NOON = 1_700_000_000.0


def body(status: int, words: str) -> bytes:
    """An error's body in the service's form: the tracking runs straight into the words."""
    tracking = f"TrackingId:{GUID}_G3,TimeStamp:11/7/2018 12:18:37 AM"
    return f"<Error><Code>{status}</Code><Detail>{words}.{tracking}</Detail></Error>".encode()


def answer(status: int, words: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, headers or {}, b"" if words is None else body(status, words))


class Case(NamedTuple):
    """An answer, and the verdict it deserves."""

    answer: Answer
    verdict: Verdict
    is_explicit: bool = True


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
    "bare 403 of 2022": Case(answer(403, None, {"TrackingId": GUID}), Verdict.THROTTLE, is_explicit=False),
    "403 with words for nothing": Case(answer(403, "Forbidden"), Verdict.THROTTLE, is_explicit=False),
    "bare 403 with Retry-After": Case(answer(403, None, SOON), Verdict.THROTTLE),
    "403 with garbage as Retry-After": Case(answer(403, None, {"Retry-After": "soon"}), Verdict.THROTTLE),
    "throttled": Case(answer(403, "The request was throttled"), Verdict.THROTTLE),
    "throttling": Case(answer(403, "Throttling limit reached"), Verdict.THROTTLE),
    "too many requests": Case(answer(403, "Too Many Requests, slow down"), Verdict.THROTTLE),
    "request rate": Case(answer(403, "The request rate is too high"), Verdict.THROTTLE),
    "server busy": Case(answer(403, "The server is busy"), Verdict.THROTTLE),
    "quota": Case(answer(403, "The namespace's quota is exceeded"), Verdict.HALT),
    "too many installations": Case(answer(403, "Too many installations in the namespace"), Verdict.HALT),
    "too many registrations": Case(answer(403, "TOO MANY REGISTRATIONS"), Verdict.HALT),
    "quota with Retry-After": Case(answer(403, "The quota is exceeded", SOON), Verdict.THROTTLE),
    "no such hub": Case(answer(404, "No service is hosted at the specified address."), Verdict.HALT),
    "404 of 2018 with tracking alone": Case(answer(404, ""), Verdict.HALT),
    "method": Case(answer(405, "PUT is not supported here"), Verdict.HALT),
    "proxy": Case(answer(407), Verdict.HALT),
    "timeout": Case(answer(408), Verdict.RETRY),
    "conflict": Case(answer(409, "SubCode=40900. Conflict"), Verdict.RETRY),
    "gone": Case(answer(410), Verdict.REJECT),
    "precondition": Case(answer(412), Verdict.REJECT),
    "too large": Case(answer(413, "The request's body is larger than 1048576 bytes"), Verdict.REJECT),
    "unprocessable": Case(answer(422), Verdict.REJECT),
    "429": Case(answer(429), Verdict.THROTTLE),
    "429 with Retry-After": Case(answer(429, "Too many requests", SOON), Verdict.THROTTLE),
    "429 that speaks of a quota": Case(answer(429, "The quota is exceeded"), Verdict.THROTTLE),
    "500": Case(answer(500, "The server was unable to process the request"), Verdict.RETRY),
    "501": Case(answer(501), Verdict.RETRY),
    "502": Case(Answer(502, {}, b"<html><body>Bad Gateway</body></html>"), Verdict.RETRY),
    "503": Case(answer(503, None, SOON), Verdict.RETRY),
    "503 that throttles": Case(answer(503, "The request was throttled"), Verdict.RETRY),
    "504": Case(answer(504), Verdict.RETRY),
    "599": Case(answer(599), Verdict.RETRY),
    "no content": Case(answer(204), Verdict.HALT),
    "redirect": Case(answer(301, None, {"Location": "https://example.com/"}), Verdict.HALT),
    "a web page": Case(Answer(302, {}, b"<html>Sign in</html>"), Verdict.HALT),
}


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_follows_from_status_headers_and_words(name: str) -> None:
    case = CASES[name]
    judgment = judge(case.answer)
    assert (judgment.verdict, judgment.is_explicit) == (case.verdict, case.is_explicit)
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
    assert judgment.is_explicit or status == 403


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


@pytest.mark.parametrize("most", [0, -1])
def test_less_than_one_attempt_is_refused(most: int) -> None:
    with pytest.raises(InputError, match=r"^--max-attempts is at least 1$"):
        Backoff(max_attempts=most)


BARE = judge(answer(403))
EXPLICIT = judge(answer(429))
UNREACHED = Answer(0, fault=Fault.CONNECT, words="Connection refused")


def unanswered(history: History, given_answer: Answer = UNREACHED) -> float | None:
    return history.unanswered(given_answer, judge(given_answer))


def halt(history: History, *, refusal: Judgment | None = None, now: float = 0.0, lost: Answer = UNREACHED) -> str:
    """The line of the halt that the next answer brings."""
    with pytest.raises(Halt) as caught:
        _ = history.throttled(refusal, now) if refusal else unanswered(history, lost)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_hub_that_was_never_reached_gets_a_few_tries_further_and_further_apart() -> None:
    history = History(was_accepted=True, now=0.0)
    assert [unanswered(history) for _ in range(3)] == [REST_TO_REACH, 2 * REST_TO_REACH, 3 * REST_TO_REACH]
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
    assert {unanswered(history, Answer(0, fault=fault)) for _ in range(10_000)} == {None}
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


def test_a_403_without_a_cause_before_any_acceptance_is_asked_again_a_few_times() -> None:
    history = History(was_accepted=False, now=0.0)
    times = [number * REST_OF_BARE_403 for number in range(TRIES_OF_BARE_403 + 1)]
    assert [history.throttled(BARE, now) for now in times[:-1]] == [REST_OF_BARE_403] * TRIES_OF_BARE_403
    message = halt(history, refusal=BARE, now=times[-1])
    assert message.startswith("the hub refuses every request: either the policy of the connection string has no right ")
    assert message.endswith("(403 without a word)")


def test_refusals_that_left_together_count_once() -> None:
    history = History(was_accepted=False, now=0.0)
    times = [number * REST_OF_BARE_403 for number in range(TRIES_OF_BARE_403 + 1)]
    for now in times[:-1]:
        assert [history.throttled(BARE, now) for _ in range(64)] == [REST_OF_BARE_403] * 64
        assert history.throttled(BARE, now + 0.5) == REST_OF_BARE_403 - 0.5
    assert halt(history, refusal=BARE, now=times[-1])


def test_an_acceptance_after_a_403_without_a_cause_makes_it_a_throttle() -> None:
    history = History(was_accepted=False, now=0.0)
    history.throttled(BARE, 0.0)
    history.accepted()
    assert {history.throttled(BARE, now) for now in range(100)} == {None}


@pytest.mark.parametrize("was_accepted", [False, True])
def test_a_throttle_that_says_so_is_believed_forever(was_accepted: bool) -> None:
    history = History(was_accepted=was_accepted, now=0.0)
    assert {history.throttled(EXPLICIT, now * PATIENCE) for now in range(100)} == {None}


@pytest.mark.parametrize("was_accepted", [False, True])
def test_a_403_without_a_cause_after_an_acceptance_is_a_throttle_for_as_long_as_the_patience_lasts(
    was_accepted: bool,
) -> None:
    history = History(was_accepted=was_accepted, now=0.0)
    history.accepted()
    assert {history.throttled(BARE, 100.0 + PATIENCE * part / 100) for part in range(101)} == {None}
    message = halt(history, refusal=BARE, now=101.0 + PATIENCE)
    assert message == "the hub has accepted nothing for 15 minutes (403 without a word); run it again later"


def test_each_acceptance_renews_the_patience() -> None:
    history = History(was_accepted=True, now=0.0)
    for now in range(0, 10_000, 600):
        history.accepted()
        assert history.throttled(BARE, now) is None
        assert history.throttled(BARE, now + PATIENCE) is None


def test_a_time_in_which_nothing_was_sent_does_not_use_up_the_patience() -> None:
    # A producer at the other end of a pipe paused for an hour; the first record after it meets a throttle.
    history = History(was_accepted=False, now=0.0)
    history.accepted()
    assert history.throttled(BARE, 3600.0) is None
