"""Rows of tests/unit/test_bad_input.py: what a stack costs, and how it is watched."""

from bad_input_scenes import Set, as_is, both, written
from bad_input_students import vectors
from bad_input_table import case

COST = "rag cost --teacher x=usd:130 --student x=usd:1"
WATCH = "rag watch o.jsonl"
STATE = f"{WATCH} --state s.json"
PAIR = '{"student": 1, "teacher": 1}\n'
FILE = "rag cost --figures figures.yaml"


def prices(machine: str, rest: str = "date: 2026-11-01\n") -> Set:
    """``prices.yaml`` with one machine."""
    return written("prices.yaml", f"{rest}machines: {{H100: {machine}}}\n")


RAG = [
    case("cost-price-below-zero", prices("{usd_per_hour: -2}"), f"{COST} --traffic 9 --prices prices.yaml",
         "prices.yaml: machines.H100.usd_per_hour: -2", "greater than 0"),
    case("cost-price-nan", prices("{usd_per_hour: .nan}"), f"{COST} --traffic 9 --prices prices.yaml",
         "prices.yaml: machines.H100.usd_per_hour: nan", "finite"),
    case("cost-price-range", prices("{usd_per_hour: [3, 2]}"), f"{COST} --traffic 9 --prices prices.yaml",
         "prices.yaml: ", "'H100' goes down", "lower price first"),
    case("cost-price-key", prices("{usd_per_hr: 2}"), f"{COST} --traffic 9 --prices prices.yaml",
         "prices.yaml: unknown key 'machines.H100.usd_per_hr'"),
    case("cost-no-date", prices("{usd_per_hour: 2}", ""), f"{COST} --traffic 9 --prices prices.yaml",
         "prices.yaml: date: field required"),
    case("cost-no-prices", as_is, f"{COST} --traffic 9 --prices prices.yaml", "prices.yaml: cannot be read",
         "a YAML file of prices"),
    case("cost-prices-yaml", written("prices.yaml", "a: ]"), f"{COST} --traffic 9 --prices prices.yaml",
         "prices.yaml:1: is not YAML"),
    case("cost-gpu", as_is, "rag cost --teacher x=usd:1 --student x=gpu:H10:5 --traffic 9", "x.student",
         "'H10', did you mean 'H100'", "--prices"),
    case("cost-no-spot", as_is, "rag cost --teacher x=usd:1 --student x=gpu:L4-spot:5 --traffic 9",
         "'L4-spot' is not known", "--prices"),
    case("cost-api", as_is, "rag cost --teacher x=api:GPT-5:9 --student x=usd:1 --traffic 9", "x.teacher",
         "no API is named 'GPT-5', did you mean 'GPT-4'"),
    case("cost-traffic-0", as_is, f"{COST} --traffic 0", "--traffic: '0'", "greater than 0"),
    case("cost-traffic-nan", as_is, f"{COST} --traffic nan", "--traffic: 'nan'", "finite"),
    case("cost-no-traffic", as_is, COST, "--traffic: is needed", "requests come a month"),
    case("cost-hit-rate", as_is, f"{COST} --traffic 9 --hit-rate 1", "--hit-rate: '1'", "less than 1"),
    case("cost-utilisation", as_is, f"{COST} --traffic 9 --utilisation 1.5", "--utilisation: '1.5'"),
    case("cost-throughput-0", as_is, "rag cost --teacher x=usd:1 --student x=gpu:L4:0 --traffic 9",
         "x.student: 'gpu:L4:0'", "no number above 0"),
    case("cost-word", as_is, "rag cost --teacher x=130 --student x=usd:1 --traffic 9",
         "x.teacher: '130' is no figure", "write usd:130"),
    case("cost-below-zero", as_is, f"{COST} --traffic 9 --training -5", "--training: '-5'", "of 0 or more"),
    case("cost-no-student", as_is, "rag cost --teacher x=usd:1 --traffic 9", "part 'x' has no student",
         "--student x=SPEC"),
    case("cost-no-part", as_is, "rag cost --teacher usd:1 --traffic 9", "--teacher: 'usd:1' names no part"),
    case("cost-figures-key", written("figures.yaml", "trafic: 9\nparts: {x: {teacher: usd:1, student: usd:1}}"),
         f"{FILE} --traffic 9", "figures.yaml: unknown key 'trafic', did you mean 'traffic'"),
    case("cost-figures-part", written("figures.yaml", "traffic: 9\nparts: [x]"), FILE, "figures.yaml: parts",
         "a mapping", "embedder:"),
    case("cost-run-machine", as_is, "rag cost --run run --traffic 9", "--run: 'run' names no machine"),
    case("cost-run", as_is, "rag cost --run data@L4 --traffic 9", "data: holds no report.json"),
    case("watch-no-file", as_is, "rag watch o.jsonl", "o.jsonl: no such file"),
    case("watch-json", written("o.jsonl", '{"student": 1, "teacher": 1}\n{'), WATCH, "o.jsonl:2: broken JSON"),
    case("watch-half", written("o.jsonl", '{"student": 1}'), WATCH, "o.jsonl:1: half a pair: no 'teacher'"),
    case("watch-nan", written("o.jsonl", '{"student": NaN, "teacher": 1}'), WATCH, "o.jsonl:1: 'student' is nan",
         "leave out"),
    case("watch-scale", written("o.jsonl", '{"student": 4, "teacher": 5}'), WATCH, "o.jsonl:1: 'student' is 4",
         "--unbounded"),
    case("watch-words", written("o.jsonl", '{"student": "good", "teacher": 1}'), WATCH,
         "o.jsonl:1: 'student' must be a number, not a string"),
    case("watch-nothing", written("o.jsonl", '{"query": "a"}'), WATCH, "o.jsonl:1: tells nothing", "'error'"),
    case("watch-error", written("o.jsonl", '{"error": 1}'), WATCH, "o.jsonl:1: 'error' must be true or false"),
    case("watch-alpha", written("o.jsonl", ""), f"{WATCH} --alpha 0", "--alpha: '0'", "greater than 0"),
    case("watch-warn", written("o.jsonl", ""), f"{WATCH} --warn 0.1", "--warn: ", "too late", "below --roll-back"),
    case("watch-warn-nan", written("o.jsonl", ""), f"{WATCH} --warn nan", "--warn", "'nan'"),
    case("watch-state", both(written("o.jsonl", ""), written("s.json", "{")), STATE, "s.json: is no state of a watch",
         "--restart"),
    case("watch-newer", both(written("o.jsonl", ""), written("s.json", '{"schema": 99}')), STATE, "s.json",
         "schema 99", "upgrade"),
    case("watch-other", both(written("o.jsonl", PAIR), lambda scene: scene.good(STATE)), f"{STATE} --warn 0.01",
         "s.json: was begun with other thresholds", "--restart"),
    case("watch-canary", both(written("o.jsonl", PAIR), lambda scene: scene.good(STATE)),
         f"{STATE} --canary days", "s.json: was begun with another --canary"),
    case("watch-shorter", both(written("o.jsonl", PAIR * 2), lambda scene: scene.good(STATE),
         written("o.jsonl", PAIR)), STATE, "o.jsonl: has 1 lines, 2 were counted before", "--restart"),
    case("watch-pickle", written("a.npy", b"\x93NUMPY\x01\x00"), "rag watch --drift a.npy a.npy", "a.npy: is no array",
         "ragdistill embed"),
    case("watch-flat", vectors(8), "rag watch --drift vectors.npy vectors.npy", "vectors.npy: holds float32 [8]"),
    case("watch-inf", vectors(8, 2, spoilt=float("inf")), "rag watch --drift vectors.npy vectors.npy",
         "vectors.npy: has a value that is NaN"),
    case("cost-twin", both(written("run/report.json", "{}")), "rag cost --run run@L4 --traffic 9",
         "run/report.json: is no report"),
]  # fmt: skip
