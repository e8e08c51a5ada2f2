"""The rate finds a hub's ceiling, sits just under it, and wastes almost no request: simulated minutes of it."""

from collections.abc import Callable

import pytest

from bulkload.emulator.limits import fixed_window, schedule, token_bucket
from bulkload.pace import OF_OUTAGE, AdaptiveRate
from bulkload.pace.adaptive import FEW, FIRST_RATE
from tests.simulated_hub import HUB_STALLS_EVERY, Outcome, Simulation

MINUTE = 60.0


def goodput(outcome: Outcome, ceiling: float, saved: float = 0.0) -> float:
    """What part of a ceiling's requests were accepted, what the hub had saved up at the start not counted."""
    return (sum(outcome.accepted) - saved) / ceiling


def a_second(_: float) -> float:
    return 1.0


@pytest.mark.parametrize("retry_after", [None, a_second])
@pytest.mark.parametrize("part", [5, 100])
@pytest.mark.parametrize("ceiling", [200, 300, 700, 1000, 2500, 5000])
def test_a_fixed_ceiling_is_used_up_from_a_cold_start(
    ceiling: int, part: int, retry_after: Callable[[float], float] | None
) -> None:
    outcome = Simulation(token_bucket(f"{ceiling}:{part}%"), retry_after=retry_after).run(MINUTE)
    saved = ceiling if part == 100 else 0
    assert goodput(outcome, ceiling * MINUTE, saved) >= (0.96 if ceiling == 200 else 0.97)
    assert outcome.share_refused <= 0.01


@pytest.mark.parametrize(("spread", "stalls"), [(0.02, 0.0), (0.0, 0.1), (0.01, 0.05)])
@pytest.mark.parametrize("part", [5, 100])
@pytest.mark.parametrize("ceiling", [200, 1000, 2500])
def test_answers_that_overtake_each_other_and_a_client_that_wakes_late_cost_little(
    ceiling: int, part: int, spread: float, stalls: float
) -> None:
    outcome = Simulation(token_bucket(f"{ceiling}:{part}%"), spread=spread, stalls=stalls).run(MINUTE)
    saved = ceiling if part == 100 else 0
    # A stall of 0.1 s is twice what a bucket of 5 % saves up: what runs over is lost.
    assert goodput(outcome, ceiling * MINUTE, saved) >= (0.92 if stalls else 0.96)
    assert outcome.share_refused <= (0.0125 if stalls else 0.01)


@pytest.mark.parametrize("stalls", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("part", [5, 100])
@pytest.mark.parametrize("ceiling", [200, 1000, 5000])
def test_a_hub_that_stands_still_for_a_moment_is_not_taken_for_a_slow_one(
    ceiling: int, part: int, stalls: float
) -> None:
    outcome = Simulation(token_bucket(f"{ceiling}:{part}%"), hub_stalls=stalls).run(MINUTE)
    saved = ceiling if part == 100 else 0
    # What its bucket does not hold of each stall is lost, and refused.
    lost = max(0.0, stalls - part / 100) / HUB_STALLS_EVERY
    assert goodput(outcome, ceiling * MINUTE * (1 - lost), saved) >= 0.97
    assert outcome.share_refused <= 0.012 + lost


@pytest.mark.parametrize("straggling", [5.0, 60.0])
@pytest.mark.parametrize(("ceiling", "latency"), [(200, 0.04), (1000, 0.04), (2000, 0.1)])
def test_answers_that_come_far_too_late_tell_nothing_of_the_hub(
    ceiling: int, latency: float, straggling: float
) -> None:
    outcome = Simulation(token_bucket(f"{ceiling}:5%"), latency=latency, straggling=straggling).run(MINUTE)
    assert goodput(outcome, ceiling * MINUTE) >= 0.95
    assert outcome.share_refused <= 0.01


@pytest.mark.parametrize("low", [1, 2, 5])
def test_a_hub_that_hardly_took_anything_for_a_minute_is_used_again_soon(low: int) -> None:
    outcome = Simulation(schedule(f"0:1000,10:{low},70:1000")).run(150)
    assert min(outcome.accepted[130:149]) >= 900
    assert sum(outcome.refused[70:]) <= 500


@pytest.mark.parametrize("latency", [0.04, 0.3])
def test_a_ceiling_that_rises_never_costs_what_was_there(latency: float) -> None:
    outcome = Simulation(schedule("0:1000,20:3000"), latency=latency, workers=2000).run(40)
    assert min(outcome.accepted[19:39]) >= 950
    assert min(outcome.accepted[30:39]) >= 2700


def test_a_long_block_does_not_make_the_next_one_long() -> None:
    # Ten minutes without a request taken, and later two seconds.
    limit = schedule("0:1000,10:0.001,610:1000,640:0.001,642:1000")
    outcome = Simulation(limit).run(700)
    assert sum(outcome.accepted[660:699]) >= 0.95 * 39 * 1000


@pytest.mark.parametrize("latency", [0.005, 0.1, 0.3])
def test_a_ceiling_is_found_at_any_latency(latency: float) -> None:
    outcome = Simulation(token_bucket("1000:20%"), latency=latency).run(MINUTE)
    # With few in flight the ramp takes as many round trips at 0.3 s as at 0.005 s.
    assert goodput(outcome, 1000 * MINUTE) >= (0.9 if latency > 0.1 else 0.98)
    assert outcome.share_refused <= 0.015


@pytest.mark.parametrize("ceiling", [1, 2, 5, 20, 50, 100])
def test_a_slow_hub_is_not_hammered(ceiling: int) -> None:
    outcome = Simulation(token_bucket(f"{ceiling}:100%")).run(MINUTE)
    # At one request a second twenty samples take a third of the minute.
    assert goodput(outcome, ceiling * MINUTE) >= (0.85 if ceiling > 1 else 0.6)
    # What is in flight when the limit is met, and about one request in two seconds afterwards.
    assert sum(outcome.refused) <= 4 * FEW


@pytest.mark.parametrize("rates", [(1000, 300, 1500), (700, 250, 1400)])
def test_the_rate_follows_a_ceiling_that_falls_and_rises(rates: tuple[int, int, int]) -> None:
    one, two, three = rates
    outcome = Simulation(schedule(f"0:{one},40:{two},80:{three}")).run(120)
    assert goodput(outcome, 40 * (one + two + three), one) >= 0.95
    assert outcome.share_refused <= 0.01


@pytest.mark.parametrize(("ceiling", "low"), [(5000, 900), (1000, 300), (1000, 100), (200, 20)])
def test_a_ceiling_that_was_low_for_a_second_is_soon_found_again(ceiling: int, low: int) -> None:
    # The same is seen where the hub's machine stood still for a moment.
    outcome = Simulation(schedule(f"0:{ceiling},20:{low},21:{ceiling}")).run(MINUTE)
    assert sum(outcome.accepted[36:60]) >= 0.96 * 24 * ceiling
    assert sum(outcome.refused[36:]) <= 0.01 * sum(outcome.accepted[36:])


def rest_of_minute(at: float) -> float:
    return MINUTE - at % MINUTE


@pytest.mark.parametrize("retry_after", [a_second, lambda _: 20.0, rest_of_minute])
def test_windows_that_say_when_to_come_back_are_used_up_and_closed_softly(
    retry_after: Callable[[float], float],
) -> None:
    outcome = Simulation(fixed_window("3000/60s"), retry_after=retry_after).run(180)
    refused = [sum(outcome.refused[begin : begin + 60]) for begin in (0, 60, 120)]
    assert goodput(outcome, 9000) >= 0.97
    assert refused[0] <= 500
    assert max(refused[1:]) <= 30


def test_windows_that_say_nothing_are_learned() -> None:
    outcome = Simulation(fixed_window("3000/60s")).run(180)
    refused = [sum(outcome.refused[begin : begin + 60]) for begin in (0, 60, 120)]
    assert goodput(outcome, 9000) >= 0.95
    assert outcome.share_refused <= 0.08
    assert refused[1] < refused[0]


@pytest.mark.parametrize(("latency", "within"), [(0.005, 1), (0.04, 3)])
def test_without_a_ceiling_the_client_is_what_limits(latency: float, within: int) -> None:
    outcome = Simulation(latency=latency, cost=0.0001).run(6)
    assert not sum(outcome.refused)
    assert min(outcome.accepted[within:6]) >= 9500


def test_a_ramp_has_few_in_flight_until_the_hub_took_many() -> None:
    rate = AdaptiveRate(0.0)
    assert rate.most_in_flight == 1
    rate.leave()
    rate.taken(0.0, 0.04)
    assert rate.most_in_flight == FEW
    for _ in range(800):
        rate.leave()
        rate.taken(0.05, 0.1)
    assert rate.most_in_flight == 801 / 8


def leave_at(rate: AdaptiveRate, now: float) -> None:
    assert rate.delay(now) == 0
    rate.leave()


def test_an_episode_cuts_once_however_many_refusals_come() -> None:
    rate = AdaptiveRate(0.0)
    leave_at(rate, 0.0)
    rate.taken(0.0, 0.04)
    for number in range(20):
        leave_at(rate, 0.05 + number * 0.01)
    rate.throttled(0.05, 0.3)
    rate.delay(0.3)
    first = rate.delay(0.3)
    for number in range(1, 5):
        rate.throttled(0.05 + number * 0.01, 0.3)
    assert rate.delay(0.3) == first
    assert rate.is_throttled


def sending() -> AdaptiveRate:
    """A rate of which the hub took one request, and of which eight are in flight, the first since 0.05."""
    rate = AdaptiveRate(0.0)
    leave_at(rate, 0.0)
    rate.taken(0.0, 0.04)
    for number in range(8):
        leave_at(rate, 0.05 + number * 0.01)
    return rate


def blocked(retry_after: float | None = None) -> tuple[AdaptiveRate, float]:
    """A rate that the hub blocks, and the time at which it did."""
    rate = sending()
    for number in range(8):
        rate.throttled(0.05 + number * 0.01, 0.2, retry_after)
    return rate, 0.2


def test_a_block_is_probed_by_one_request_after_growing_pauses() -> None:
    rate, now = blocked()
    pauses = []
    for _ in range(8):
        pauses.append(rate.delay(now))
        now += pauses[-1]
        assert rate.most_in_flight == 1
        leave_at(rate, now)
        now += 0.04
        rate.throttled(now - 0.04, now)
    assert pauses == pytest.approx([0.25, 0.375, 0.5625, 0.84375, 1, 1, 1, 1])


def test_a_block_waits_as_long_as_the_hub_says() -> None:
    rate, now = blocked(retry_after=20.0)
    assert rate.delay(now) == pytest.approx(20.0)


def test_after_a_block_one_goes_then_2_4_8() -> None:
    rate, now = blocked()
    now += rate.delay(now)
    allowed = []
    while rate.most_in_flight <= FEW:
        number = int(rate.most_in_flight)
        allowed.append(number)
        for _ in range(number):
            rate.leave()
        now += 0.04
        for _ in range(number):
            rate.taken(now - 0.03, now)
        if len(allowed) > 10:
            break
    assert allowed[:6] == [1, 2, 4, 8, 16, 32]


def test_what_left_before_a_block_and_is_never_answered_holds_no_probe_back() -> None:
    rate = sending()
    rate.block(0.2, OF_OUTAGE)
    assert rate.delay(0.2) == pytest.approx(1.0)
    assert rate.most_in_flight == rate.in_flight + 1
    rate.failed(0.05, 0.3)
    assert rate.most_in_flight == rate.in_flight + 1
    assert rate.delay(0.3) == pytest.approx(0.9)


def test_a_rate_that_is_not_used_does_not_grow() -> None:
    rate = AdaptiveRate(0.0)
    now = 0.0
    for _ in range(1000):
        now += 0.05
        leave_at(rate, now)
        rate.taken(now, now + 0.04)
    assert rate.rate == FIRST_RATE


def test_it_tells_its_state() -> None:
    rate, _ = blocked()
    assert repr(rate) == "<AdaptiveRate is blocked at 500/s>"
    assert repr(AdaptiveRate(0.0)) == "<AdaptiveRate ramps at 500/s>"
