"""Claims: prediction intervals, printed values, and verdicts on both sides of them."""

from decimal import Decimal

import numpy as np
import pytest

from dae_jax.experiments import claims
from dae_jax.experiments.catalogue import EXPERIMENTS
from dae_jax.experiments.claims import Improved, Reproduced, Shown, in_words, value_of
from helpers import refused

# Two-sided 95 % quantiles of Student's t, from the tables in statistics books.
T = {2: 12.706, 3: 4.303, 5: 2.776, 10: 2.262, 31: 2.042}


def spread(n, mean, deviation):
    """So many values with that mean and standard deviation."""
    values = np.linspace(-1, 1, n)
    return (mean + deviation * values / values.std(ddof=1)).tolist()


# mean 10, standard deviation 1: 10 ± 2.262 √(1 + 1/10) for one more run, 10 ± 2.262 / √10 for the
# mean
TEN = spread(10, 10, 1)
ONE_MORE = 7.6274, 12.3726
MEAN = 9.2846, 10.7154

# ---- intervals -------------------------------------------------------------------------------


@pytest.mark.parametrize("n", T)
def test_the_interval_is_that_of_a_table_of_t(n):
    low, high = claims.prediction_interval(spread(n, 5, 2))
    half = T[n] * 2 * np.sqrt(1 + 1 / n)
    assert (low, high) == pytest.approx((5 - half, 5 + half), abs=0.001 * half)  # 3 decimals of t


@pytest.mark.parametrize("n", [3, 10])
def test_one_more_run_lies_in_the_interval_95_times_out_of_100(n):
    draws = np.random.default_rng(n).normal(8, 3, (4000, n + 1))
    inside = 0
    for *values, one_more in draws:
        low, high = claims.prediction_interval(values)
        inside += low <= one_more <= high
    assert inside / 4000 == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 4000))


def test_the_interval_of_the_mean_is_narrower():
    assert tuple(claims.prediction_interval(TEN)) == pytest.approx(ONE_MORE, abs=0.001)
    improved = Improved("n", "11", "this", "that")
    assert tuple(improved.interval(TEN)) == pytest.approx(MEAN, abs=0.001)


@pytest.mark.parametrize("claim", [Reproduced("a", "1"), Improved("a", "1", "this", "that")])
def test_an_interval_of_one_run_is_refused(claim):
    words = ("interval of a", "at least 2 seeds", "got 1", "all of its seeds")
    refused(lambda: claim.interval([1.0]), *words)
    refused(lambda: claim.verdict([1.0]), *words)
    refused(lambda: claims.check_seeds([claim], [7]), *words)
    claims.check_seeds([claim], [7, 8])


def test_one_seed_is_enough_where_there_is_no_interval():
    claims.check_seeds([Reproduced("a", "1", exact=True), Shown("b")], [7])
    refused(lambda: claims.check_seeds([Shown("b"), Reproduced("c", "1")], [7]), "interval of c")


# ---- printed values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "value", "half"),
    [
        ("7491.96", 7491.96, 0.005),
        ("675,218", 675_218, 0.5),
        ("1,000,000.5", 1_000_000.5, 0.05),
        ("8 %", 0.08, 0.005),
        (".92 %", 0.0092, 0.00005),
        ("7.50 %", 0.075, 0.00005),
        ("+.01", 0.01, 0.005),
        ("-2", -2, 0.5),
        (".0407", 0.0407, 0.00005),
        ("3.00", 3, 0.005),
    ],
)
def test_a_printed_value_stands_for_all_that_round_to_it(published, value, half):
    assert value_of(published) == (value, pytest.approx(half, rel=1e-12))


PUBLISHED = sorted({c.published for e in EXPERIMENTS.values() for c in e.claims if c.published})


@pytest.mark.parametrize("published", PUBLISHED)
def test_every_published_value_of_the_catalogue_is_read_as_decimals_are(published):
    number = Decimal(published.removesuffix(" %").replace(",", ""))
    unit = Decimal(1).scaleb(number.as_tuple().exponent)
    divisor = 100 if published.endswith("%") else 1
    value, half = value_of(published)
    assert value == float(number / divisor)
    assert half == pytest.approx(float(unit / 2 / divisor), rel=1e-12)


@pytest.mark.parametrize(
    "published", ["", "+", "8%", "about 5", "1e3", "nan", "5.", " 8", "figure", "65.604 (Theano)"]
)
def test_words_are_no_published_values(published):
    with pytest.raises(ValueError, match="not a number"):
        value_of(published)


# ---- reproduced ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "lower", "higher", "neither"),
    [
        # better if lower, if higher, if neither; measured: 7.63 to 12.37
        ("10", "agrees", "agrees", "agrees"),
        ("7.7", "agrees", "agrees", "agrees"),
        ("12.3", "agrees", "agrees", "agrees"),
        ("7.6", "agrees", "agrees", "agrees"),  # up to 7.65
        ("12.4", "agrees", "agrees", "agrees"),  # from 12.35
        ("7.60", "worse", "better", "worse"),  # up to 7.605: ours is above
        ("12.40", "better", "worse", "worse"),  # from 12.395: ours is below
        ("13", "better", "worse", "worse"),
        ("12", "agrees", "agrees", "agrees"),
        ("-50", "worse", "better", "worse"),
        ("1,000", "better", "worse", "worse"),
    ],
)
def test_a_reproduced_number_agrees_inside_the_interval_and_is_judged_outside(
    published, lower, higher, neither
):
    for better, verdict in (("lower", lower), ("higher", higher), ("neither", neither)):
        assert Reproduced("n", published, better=better).verdict(TEN) == verdict


def test_lower_is_better_unless_it_is_said():
    assert Reproduced("n", "13").verdict(TEN) == "better"


def test_equal_runs_agree_with_what_rounds_to_them_only():
    """Without any spread, the interval is a point."""
    assert Reproduced("n", ".056").verdict([0.05595] * 10) == "agrees"
    assert Reproduced("n", ".055").verdict([0.05595] * 10) == "worse"
    assert Reproduced("n", ".057").verdict([0.05595] * 10) == "better"


@pytest.mark.parametrize("better", ["lower", "higher", "neither"])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_worse(broken, exact, better):
    claim = Reproduced("n", "10", exact=exact, better=better)
    assert claim.verdict([*TEN, broken]) == "worse"


@pytest.mark.parametrize(
    ("published", "value", "verdict"),
    [
        ("7.50 %", 0.075, "agrees"),
        ("7.50 %", 0.07504, "agrees"),
        ("7.50 %", 0.07496, "agrees"),
        ("7.50 %", 0.07506, "worse"),
        ("7.50 %", 0.07494, "better"),
        ("13.87", 13.8749, "agrees"),
        ("13.87", 13.8751, "worse"),
        ("13.87", 13.8649, "better"),
        ("52.4395", 52.43952, "agrees"),
        ("52.4395", 52.4396, "worse"),
    ],
)
def test_an_exact_number_has_to_be_the_same_in_all_printed_digits(published, value, verdict):
    assert Reproduced("n", published, exact=True).verdict([value]) == verdict


def test_an_exact_number_on_the_wrong_side_is_worse_on_either_side():
    for value in (0.07494, 0.07506):
        assert Reproduced("n", "7.50 %", exact=True, better="neither").verdict([value]) == "worse"


def test_an_exact_number_is_that_of_the_first_seed():
    """Others may have other initial weights."""
    claim = Reproduced("n", "52.4395", exact=True)
    assert claim.verdict([52.43952, 51.0, 50.0]) == "agrees"
    assert claim.verdict([51.0, 52.43952]) == "better"
    assert claim.interval([52.43952, 51.0]) == (52.43952, 52.43952)


@pytest.mark.parametrize("published", PUBLISHED)
def test_every_published_value_agrees_with_itself(published):
    """Also where binary fractions round the other way."""
    value, half = value_of(published)
    claim = Reproduced("n", published, exact=True)
    for same in (value, value - 0.999 * half, value + 0.999 * half):
        assert claim.verdict([same]) == "agrees"
    assert {claim.verdict([value + way * 1.001 * half]) for way in (-1, 1)} == {"better", "worse"}


# ---- improved and shown ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "better", "verdict"),
    [
        # the interval of the mean: 9.28 to 10.72
        ("10.8", "lower", "better"),
        ("10.7", "lower", "not better"),  # the mean is, but not the whole interval
        ("10", "lower", "not better"),
        ("5", "lower", "not better"),
        ("9.2", "higher", "better"),
        ("9.3", "higher", "not better"),
        ("12.4", "higher", "not better"),
    ],
)
def test_an_improved_number_is_better_with_its_whole_interval(published, better, verdict):
    assert Improved("n", published, "this", "that", better=better).verdict(TEN) == verdict


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_number_that_is_not_a_number_is_no_improvement(better):
    assert Improved("n", "10", "it", "it", better=better).verdict([*TEN, np.nan]) == "not better"


def test_a_shown_number_has_no_interval_and_no_verdict():
    claim = Shown("n", "figure 3")
    for values in ([1.0], TEN, [np.nan]):
        assert claim.verdict(values) is None and claim.interval(values) is None


# ---- in a report -----------------------------------------------------------------------------


def test_a_judged_claim_is_a_row_of_a_report():
    numbers = {"n": {"values": TEN}, "other": {"values": [1.0]}}
    row = claims.judged(Reproduced("n", "13"), numbers)
    low, high = row.pop("interval")
    assert (low, high) == pytest.approx(ONE_MORE, abs=0.001)
    assert {type(low), type(high)} == {float}
    assert row == {"kind": "reproduced", "number": "n", "published": "13", "verdict": "better"}
    assert claims.judged(Improved("n", "13", "it", "it"), numbers)["kind"] == "improved"
    assert claims.judged(Shown("other"), numbers) == {
        "kind": "shown",
        "number": "other",
        "published": None,
        "interval": None,
        "verdict": None,
    }


def test_shares_are_in_per_cent_and_large_numbers_have_commas():
    assert in_words("a: test error", 0.01234) == "1.23 %"
    assert (
        in_words("a: cost", 65.60412) == "65.6" and in_words("a: cost", 65.60412, 7) == "65.60412"
    )
    assert in_words("a: total cost", 652088.7) == "652,089"
    assert in_words("a: error per image", 13.8712) == "13.87"
