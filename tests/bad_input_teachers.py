"""Rows of tests/unit/test_bad_input.py: teachers behind endpoints, and runs by several processes."""

from bad_input_scenes import (
    ASKED,
    BASE,
    another_teacher,
    as_is,
    both,
    endpoint,
    environment,
    has_module,
    no_module,
    several,
)
from bad_input_table import BEGUN, case

ENDPOINTS = [
    case("endpoint-key", endpoint(key="sk-1"), ASKED, "http://127.0.0.1:", "wants a key", "401",
         "set OPENAI_API_KEY"),
    case("endpoint-wrong-key", both(endpoint(key="sk-1"), environment("OPENAI_API_KEY", "sk-2")),
         ASKED, "does not take the key in OPENAI_API_KEY", "401"),
    case("endpoint-odd-key", both(endpoint(), environment("OPENAI_API_KEY", "sk-\u00e9")), ASKED,
         "--teacher-key-env", "characters that no key has"),
    case("endpoint-key-env", endpoint(), f"{ASKED} --teacher-key-env NOT_SET", "--teacher-key-env",
         "no environment variable that is set", "never the key itself"),
    case("endpoint-model", endpoint(), f"{ASKED} --teacher openai:tony", "knows no model 'tony'",
         "404", "--teacher-url"),
    case("endpoint-no-name", endpoint(), f"{ASKED} --teacher openai:", "--teacher", "no model"),
    case("endpoint-no-url", as_is, f"{BASE} --teacher openai:tiny --student teacher",
         "--teacher-url: is needed", "https://api.openai.com/v1"),
    case("endpoint-ftp", endpoint(), f"{ASKED} --teacher-url ftp://host/v1", "--teacher-url: is no",
         "http://host:port/v1"),
    case("endpoint-port", endpoint(), f"{ASKED} --teacher-url http://host:99999/v1",
         "--teacher-url: is no address"),
    case("endpoint-secret", endpoint(), f"{ASKED} --teacher-url https://me:pass@host/v1",
         "--teacher-url", "credentials", "into the environment"),
    case("endpoint-query", endpoint(), f"{ASKED} --teacher-url https://host/v1?key=x",
         "--teacher-url", "query", "into the environment"),
    case("endpoint-down", endpoint(), f"{ASKED} --teacher-url http://127.0.0.1:9/v1",
         "http://127.0.0.1:9/v1: ", "no usable answer (3 tries)", "the same command goes on"),
    case("endpoint-elsewhere", endpoint(lambda number: "308"), ASKED, "--teacher-url: leads elsew",
         "308"),
    case("endpoint-no-student", endpoint(), "embedder --config c.yaml --data data --out run",
         "--student: the teacher has no layers", "name a model"),
    case("endpoint-not", as_is, f"{BASE} --teacher-url http://host/v1", "--teacher-url: the teacher "
         "'teacher' is not behind an endpoint", "openai:NAME"),
    case("endpoint-not-priced", as_is, f"{BASE} --teacher-price 1", "--teacher-price: the teacher 'teacher' is not"),
    case("endpoint-no-price", endpoint(), f"{ASKED} --teacher-budget 5", "--teacher-budget: needs a "
         "price", "--teacher-price"),
    case("endpoint-price", endpoint(), f"{ASKED} --teacher-price dear", "--teacher-price: 'dear' is not a price",
         "0.02"),
    case("endpoint-price-below-zero", endpoint(), f"{ASKED} --teacher-price -1", "--teacher-price: '-1' is not"),
    case("endpoint-budget", endpoint(), f"{ASKED} --teacher-budget 0.00001 --teacher-price 0.13",
         "--teacher-budget: the next text might cost more", "0.000000 USD", "raise it"),
    case("endpoint-long", endpoint(lambda number: "400" if number > 3 else None), ASKED,
         "refuses the request (status 400: not now)", "--max-length", leaves=BEGUN),
    case("endpoint-wide", endpoint(lambda number: "wide" if number > 1 else None), ASKED,
         "vectors of 64 dimensions now, with 32 before", "the same command goes on", leaves=BEGUN),
    case("endpoint-short", endpoint(lambda number: "short" if number > 1 else None), ASKED,
         "no usable answer (10 tries)", "it holds 1 of 2 vectors", leaves=BEGUN),
]  # fmt: skip

_TWO = f"{BASE} --teacher teacher,teacher --student teacher"

PANELS = [
    case("panel-twice", as_is, _TWO, "--teacher: teacher and teacher are one", "--teacher-weights"),
    case("panel-gap", as_is, f"{_TWO} --teacher teacher,,teacher", "--teacher", "nothing between commas"),
    case("panel-unknown", as_is, f"{_TWO} --teacher teacher,MiniML", "MiniML", "did you mean 'MiniLM'"),
    case("panel-no-student", another_teacher("second", seed=3), f"{BASE} --teacher teacher,second", "--student: is made of one",
         "name a model"),
    case("panel-index", as_is, f"{_TWO} --asymmetric --teacher-index x.npy", "--teacher: an index is of "
         "one teacher", "that has made it"),
    case("panel-budget", endpoint(), f"{ASKED} --teacher openai:tiny,openai:two --teacher-price 1 "
         "--teacher-budget 5", "--teacher-budget: is of one endpoint", "one after the other"),
    case("panel-weights-few", as_is, f"{_TWO} --teacher-weights 1", "--teacher-weights: '1' is not 2 "
         "numbers", "as 2,1"),
    case("panel-weights-word", as_is, f"{_TWO} --teacher-weights one,2", "'one,2' is not 2 numbers"),
    case("panel-weights-none", as_is, f"{_TWO} --teacher-weights 1,0", "'1,0' is not 2 numbers above 0"),
    case("panel-weights-nan", as_is, f"{_TWO} --teacher-weights nan,1", "is not 2 numbers above 0"),
    case("panel-weights-huge", as_is, f"{_TWO} --teacher-weights 1e308,1e308", "is not 2 numbers above"),
    case("panel-weights-tiny", as_is, f"{_TWO} --teacher-weights 1e-320,1e9", "is not 2 numbers above"),
    case("panel-weights-alone", as_is, f"{BASE} --teacher-weights 1", "--teacher-weights: there is one "
         "teacher", "leave it out"),
    case("panel-static", another_teacher("second", seed=3), f"{BASE.replace('--student-layers 2', '')} "
         "--teacher teacher,second --student static", "--student: is made of one"),
]  # fmt: skip

PROCESSES = [
    case("ray-missing", no_module("ray"), f"{BASE} --ray 2", "--ray: needs the Python package 'ray",
         "ragdistill[ray]"),
    case("ray-none", as_is, f"{BASE} --ray 0", "--ray", "0"),
    case("ray-endpoint", endpoint(), f"{ASKED} --ray 2", "--ray: the teacher 'openai:tiny' runs behind",
         "--teacher-concurrency"),
    case("ray-by-two", both(several(), has_module("ray")), f"{BASE} --ray 2", "--ray: hands texts out",
         "without torchrun"),
    case("static-by-two", several(), f"{BASE.replace('--student-layers 2', '')} --student static",
         "--student: is trained by one process", "without torchrun"),
    case("mined-by-two", several(), f"{BASE} --method listwise", "--method: is trained by one process"),
    case("world-words", several(WORLD_SIZE="two"), BASE, "WORLD_SIZE: 'two' is no number", "torchrun"),
    case("world-none", several(WORLD_SIZE="0"), BASE, "WORLD_SIZE: '0' is no number", "torchrun"),
    case("rank-missing", several(RANK=None), BASE, "WORLD_SIZE: speaks of 2 processes, but RANK",
         "start them with torchrun"),
    case("rank-beyond", several(RANK="2"), BASE, "RANK: 2 is not below WORLD_SIZE", "torchrun"),
    case("no-common-folder", several(), BASE.replace("--out run", ""), "--out: 2 processes need",
         "name one"),
    case("sweep-by-two", several(), f"{BASE} --sweep lr=0.1,0.2", "--sweep: runs in one process",
         "without torchrun"),
    case("frontier-by-two", several(), "embedder --teacher teacher --frontier 2,1 --data data "
         "--out run --store store", "--frontier: runs in one process", "without torchrun"),
]  # fmt: skip
