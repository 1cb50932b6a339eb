"""Cost: examples worked by hand, what the guides say, and what moves which way."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from ragdistill.cli import main
from ragdistill.errors import UserError
from ragdistill.files import write_json
from ragdistill.rag import figures, prices
from ragdistill.rag.cost import Case, Once, Part, Serving, break_even_traffic, on_machine, reckon
from ragdistill.report import schema
from report_helpers import STATE

PRICES = prices.load()
API = Serving(0.00013)
"""130 US dollars for a million requests."""


def told(*words: str) -> Result:
    return CliRunner().invoke(main, ["rag", "cost", *words])


def test_a_machine_worked_by_hand() -> None:
    """0.73 $/h, 10 requests/s at half load: 18,000 requests an hour, so 0.73/18,000 a request; and
    730 hours of one machine are 532.90 a month, which is what 13.14 million requests cost."""
    machine = on_machine(0.73, per_second=10, utilisation=0.5)
    assert machine.request_usd == pytest.approx(0.73 / 18_000)
    assert machine.month(0) == machine.month(13_140_000) == pytest.approx(532.90)
    assert machine.month(26_280_000) == pytest.approx(1065.80)
    assert machine.kink() == pytest.approx(13_140_000)
    assert on_machine(0.73, 10, 0.5, least=0).month(1_314_000) == pytest.approx(53.29)


def test_a_whole_life_worked_by_hand() -> None:
    """20 million requests a month, a quarter from a cache: 15 million are paid for. Teacher: 15 x 130
    = 1,950. Student: 15 million at 18,000 an hour are 833.33 hours, 608.33 dollars. A tenth goes to
    the teacher again: 195. Saved: 1,950 - 803.33 = 1,146.67 a month; 3,440 spent are back after
    three months, 60 million requests and 91.25 days; in six months (6,880 - 3,440) / 3,440 = 1."""
    part = Part(API, on_machine(0.73, 10, 0.5), Once(capture=400, training=3000, reindex=40))
    case = Case({"embedder": part}, 20e6, hit_rate=0.25, escalated=0.1, months=6)
    found = reckon(case)
    row = found.parts["embedder"]
    assert (row.teacher_month, row.student_month) == pytest.approx((1950, 803.3333))
    assert (row.teacher_per_million, row.student_per_million) == pytest.approx((97.5, 40.16667))
    assert row.saving_month == pytest.approx(1146.6667)
    assert found.saving == pytest.approx(1146.6667 / 1950)
    assert found.break_even_days == pytest.approx(91.25)
    assert found.break_even_requests == pytest.approx(60e6)
    assert found.whole_life == pytest.approx((11_700, 6 * 803.3333 + 3440))
    assert found.roi == pytest.approx(1.0)
    # Distilled twice in that time: nothing is left of it.
    assert reckon(replace(case, distillations=2)).roi == pytest.approx(0.0)


def test_break_even_traffic_by_hand() -> None:
    """One machine of 532.90 a month pays off 6 x 100 spent within six months when the teacher's bill
    is 632.90: at 632.90 / 0.00013 = 4,868,461.5 requests a month, all answered by that machine."""
    case = Case({"x": Part(API, on_machine(0.73, 10, 0.5), Once(training=600))}, 1e6, months=6)
    assert break_even_traffic(case) == pytest.approx(632.90 / 0.00013)
    # Where the machine costs more a request than the endpoint, no traffic ever pays.
    dear = on_machine(0.73, 0.1, 0.5)
    assert break_even_traffic(replace(case, parts={"x": Part(API, dear)})) is None
    # A teacher's machine that is up for nothing is saved at once.
    idle = Part(on_machine(0.73, 1, 0.5), Serving(1e-9))
    assert break_even_traffic(replace(case, parts={"x": idle})) == 0


@given(
    st.lists(st.tuples(*[st.floats(1e-7, 1e-2), st.floats(0, 1e4)] * 2), min_size=1, max_size=3),
    st.floats(0, 1e5),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.0, 0.2]),
)
def test_break_even_traffic_is_the_first(
    sides: list[tuple[float, float, float, float]], spent: float, hits: float, escalated: float
) -> None:
    """It pays there, and at no smaller traffic that is tried."""
    parts = {str(i): Part(Serving(a, b), Serving(c, d)) for i, (a, b, c, d) in enumerate(sides)}
    case = Case(parts, 1e6, Once(training=spent), hits, escalated)
    found = break_even_traffic(case)

    def gain(traffic: float) -> float:
        return case.saving(traffic) * 12 - spent

    slack = 1e-6 * (1 + spent + 12 * sum(max(b, d) for _, b, _, d in sides))
    if found is None:
        assert all(gain(10**power) < slack for power in range(12))
        return
    slack *= 1 + found * 1e-6
    assert gain(found) >= -slack
    assert found == 0 or all(gain(found * share) <= slack for share in (0, 0.3, 0.9, 0.999))


def test_the_guides_example() -> None:
    """130 + 150 + 30 a million at the teacher, 9.50 at the student, 4,500 once, a million requests a
    day. Their saving of 170.50 a day (180 - 9.50) is paid back on day 27 as they say."""
    shown = json.loads(told("--json").stdout)
    per_day = shown["together"]["saving_month"] * 12 / 365
    assert per_day == pytest.approx(310 - 9.5, rel=1e-6)
    assert shown["break_even_days"] == pytest.approx(4500 / 300.5, rel=1e-6)
    case = Case(
        {"all": Part(Serving(180e-6), Serving(9.5e-6))}, 1e6 * 365 / 12, Once(training=4500)
    )
    found = reckon(case)
    assert found.break_even_days == pytest.approx(4500 / 170.5)  # 26.4: on day 27
    # text-embedding-3-large at 1,000 tokens a request is their 130 a million.
    word = "api:text-embedding-3-large:1000"
    every = figures.Figures(traffic=1.0)
    assert figures.serving(word, "teacher", every, PRICES, "x")[0].request_usd == 130e-6


def test_sensitivity_changes_one_figure_at_a_time() -> None:
    machine = on_machine(0.73, 10, 0.5)
    case = Case({"x": Part(API, machine, Once(training=100))}, 50e6, hit_rate=0.3)
    swings = {swing.what: swing for swing in reckon(case).sensitivity}
    again = {
        "traffic": [replace(case, traffic=25e6), replace(case, traffic=100e6)],
        "teacher's price": [
            replace(case, parts={"x": Part(Serving(0.00013 * by), machine, Once(training=100))})
            for by in (0.5, 2)
        ],
        "student's price": [
            replace(
                case, parts={"x": Part(API, on_machine(0.73 * by, 10, 0.5), Once(training=100))}
            )
            for by in (0.5, 2)
        ],
        "student's throughput": [
            replace(
                case, parts={"x": Part(API, on_machine(0.73, 10 * by, 0.5), Once(training=100))}
            )
            for by in (0.5, 2)
        ],
        "hit rate": [replace(case, hit_rate=share) for share in (0.1, 0.5)],
        "escalated": [replace(case, escalated=share) for share in (0, 0.2)],
    }
    assert swings.keys() == again.keys()
    for what, (low, high) in again.items():
        for place, changed in enumerate((low, high)):
            expected = reckon(changed)
            assert swings[what].saving_month[place] == pytest.approx(expected.together.saving_month)
            assert swings[what].break_even_days[place] == pytest.approx(expected.break_even_days)


def test_figures_of_runs(tmp_path: Path) -> None:
    """Throughput, capture and training come from report.json, unless said otherwise."""
    report = schema.build(STATE)
    write_json(tmp_path / "run/report.json", report)
    shown = json.loads(
        told(
            "--run", f"{tmp_path}/run@L4", "--traffic", "1e8", "--documents", "1000000", "--json"
        ).stdout
    )
    part = shown["case"]["parts"]["embedder"]
    hourly = 530 / 730
    fastest = max(report["speed"][k]["per_second"] for k in ("student", "onnx-int8"))
    for side, rate in (("teacher", report["speed"]["teacher"]["per_second"]), ("student", fastest)):
        assert part[side]["request_usd"] == pytest.approx(hourly / (3600 * rate * 0.5))
    seconds = report["stages"]
    assert part["once"]["capture"] == pytest.approx(seconds["collect"]["seconds"] / 3600 * hourly)
    assert part["once"]["training"] == pytest.approx(seconds["train"]["seconds"] / 3600 * hourly)
    assert part["once"]["reindex"] == pytest.approx(1e6 / fastest / 3600 * hourly)
    words = ["--run", f"{tmp_path}/run@L4", "--traffic", "1e8", "--json"]
    words += ["--training", "embedder=7", "--teacher", "embedder=usd:GPT-4o"]
    other = json.loads(told(*words).stdout)["case"]["parts"]["embedder"]
    assert (other["once"]["training"], other["teacher"]["request_usd"]) == (7, 0.0075)


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "traffic: 1000000\nhit_rate: 0.5\nparts:\n  reranker: {teacher: 'usd:100', student: 'usd:1', "
        "training: 'gpu:H100:2'}\n"
    )
    own = tmp_path / "prices.yaml"
    own.write_text("date: 2026-11-01\nmachines: {H100: {usd_per_hour: [2, 4]}}\n")
    words = ["--figures", str(file), "--prices", str(own), "--traffic", "2e6", "--json"]
    shown = json.loads(told(*words, "--price", "high").stdout)
    assert (shown["case"]["traffic"], shown["case"]["hit_rate"]) == (2e6, 0.5)
    assert shown["case"]["parts"]["reranker"]["once"]["training"] == 8
    assert shown["prices"] == {"date": "2026-11-01", "point": "high"}
    assert prices.load(own).hour("L4", "x") == pytest.approx(530 / 730)  # of the shipped file


def test_the_shipped_prices_can_be_edited_and_read(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(told("--show-prices").stdout)
    assert prices.load(file) == PRICES
    assert PRICES.hour("H100-spot", "x") == 2.0
    with pytest.raises(UserError, match="did you mean 'H100'"):
        PRICES.hour("H10", "x")


def test_the_table_is_for_people() -> None:
    shown = told().stdout
    assert "break-even: day 15, after 14,975,042 requests" in shown
    assert "prices of 2026-03-01" in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
