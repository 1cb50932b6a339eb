"""A stranger's component: built, installed beside ragdistill's wheel, run, and uninstalled."""

import json
import os
import random
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kernel_helpers import files_under
from ragdistill.metrics import trec
from ragdistill.metrics.ranking import per_query
from ragdistill.report import schema

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
ECHO = ROOT / "examples" / "ragdistill-echo"
EXIT = {"go": 0, "no-go": 3, "inconclusive": 4}


class Site:
    """An environment of its own, with nothing in it but the two wheels; what they depend on is
    borrowed from the environment of the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.packages = Path(
            sysconfig.get_path(
                "purelib", "venv", {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
            )
        )

    def pip(self, *args: str, own: bool = True) -> None:
        target = ["--python", str(self.python)] if own else []
        done = subprocess.run(
            [sys.executable, "-m", "pip", *target, "--disable-pip-version-check", *args],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [str(self.python.with_name("ragdistill")), *args],
            check=False,
            cwd=self.folder,
            env=clean | {"RAGDISTILL_HOME": str(self.folder / "home"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def echo(self, *args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run("echo", "--data", "data", *args, status=status)

    def report(self, *args: str, status: int = 0) -> dict[str, Any]:
        """What ``--json`` prints: that, and nothing else, is on stdout."""
        found: dict[str, Any] = json.loads(self.echo(*args, "--json", status=status).stdout)
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("stranger"))
    wheels = made.folder / "wheels"
    made.pip("wheel", "--no-deps", "-w", str(wheels), str(ROOT), str(ECHO), own=False)
    venv.create(made.folder / "venv", with_pip=False)
    made.pip("install", "--no-deps", "--no-index", *map(str, wheels.glob("*.whl")))
    borrowed = sysconfig.get_path("purelib")
    (made.packages / "borrowed.pth").write_text(borrowed + "\n")
    write_data(made.folder / "data")
    return made


def write_data(folder: Path) -> None:
    """150 documents of made-up words, each with a query of some of its words, two of them in a
    form that no document has: the teacher, who reads letters, still knows them."""
    rng = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    lexicon = ["".join(rng.choices(syllables, k=3)) for _ in range(400)]
    texts = [rng.choices(lexicon, k=12) for _ in range(150)]
    (folder / "qrels").mkdir(parents=True)
    write_lines(
        folder / "corpus.jsonl",
        [json.dumps({"_id": f"d{n}", "text": " ".join(text)}) for n, text in enumerate(texts)],
    )
    asked = [[word + "s" * (n < 2) for n, word in enumerate(rng.sample(t, 3))] for t in texts]
    write_lines(
        folder / "queries.jsonl",
        [json.dumps({"_id": f"q{n}", "text": " ".join(text)}) for n, text in enumerate(asked)],
    )
    write_lines(
        folder / "qrels" / "test.tsv",
        ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in range(len(texts)))],
    )


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n")


def test_both_come_from_their_wheels(site: Site) -> None:
    rows = {row["name"]: row for row in json.loads(site.run("plugins", "--json").stdout)}
    assert rows["echo"]["distribution"] == "ragdistill-echo 0.1.0"
    assert {row["state"] for row in rows.values()} == {"ok"}
    place = "import ragdistill, ragdistill_echo as e; print(ragdistill.__file__, e.__file__)"
    done = subprocess.run(
        [str(site.python), "-c", place], capture_output=True, text=True, check=True, cwd=site.folder
    )
    assert done.stdout.count(str(site.packages)) == 2


def test_its_command_stands_among_the_others(site: Site) -> None:
    assert "echo" in site.run("--help").stdout
    assert "echo/words" in site.run("methods").stdout
    text = site.run("echo", "--help").stdout
    assert "--epochs" in text
    assert "--gate" in text


def test_a_dry_run_of_it_writes_nothing(site: Site) -> None:
    before = files_under(site.folder / "data")
    told = json.loads(site.echo("--out", "dry", "--dry-run", "--json").stdout)["plan"]
    assert told["items"] == 150
    assert "Nothing was done" in site.echo("--out", "dry", "--dry-run").stdout
    assert not (site.folder / "dry").exists()
    assert not (site.folder / "home").exists()
    assert files_under(site.folder / "data") == before


def test_it_runs_and_its_figures_can_be_recomputed(site: Site) -> None:
    report = site.report("--out", "run")
    schema.validate(report)
    run = site.folder / "run"
    assert report == json.loads((run / "report.json").read_text())
    assert report["exports"]["json"]["passed"]
    assert report["speed"].keys() == {"teacher", "student", "json"}
    qrels = trec.read_qrels(run / "rankings" / "qrels.trec")
    for name in ("teacher", "student"):
        rankings = trec.read(run / "rankings" / f"{name}.trec")
        values = per_query(qrels, rankings, ["nDCG@10"])["nDCG@10"].values()
        figure = report["quality"]["nDCG@10"][name]
        assert sum(values) / len(values) == pytest.approx(figure, abs=1e-9)
    assert report["quality"]["nDCG@10"]["teacher"] > 0.5
    assert report["quality"]["nDCG@10"]["retention"] > 0.4
    for name in ("report.html", "student/README.md", "config.yaml", "export/json/words.json"):
        assert (run / name).stat().st_size > 100


def test_again_it_does_nothing_twice(site: Site) -> None:
    before = files_under(site.folder / "run")
    again = site.echo("--out", "run")
    assert "collect" not in again.stderr
    assert files_under(site.folder / "run") == before


def test_another_run_asks_the_teacher_for_nothing_that_is_stored(site: Site) -> None:
    first, second = site.report("--out", "run"), site.report("--out", "other", "--epochs", "1")
    assert first["stages"]["collect"]["items"] == 150
    assert second["stages"]["collect"]["items"] == 0


def test_what_is_removed_is_made_again_and_is_the_same(site: Site) -> None:
    words = site.folder / "run" / "student" / "words.json"
    before = words.read_bytes()
    words.unlink()
    again = site.echo("--out", "run")
    assert "collect" not in again.stderr
    assert "train (echo/words)" in again.stderr
    assert words.read_bytes() == before


@pytest.mark.parametrize(("gate", "decision"), [("0.3", "go"), ("1", "no-go")])
def test_the_exit_status_is_the_verdict(site: Site, gate: str, decision: str) -> None:
    judged = site.echo("--out", "run", "--gate", gate, status=EXIT[decision])
    assert "train" not in judged.stderr
    assert site.report("--out", "run")["verdict"]["gate"] == 0.9


def test_too_few_queries_are_inconclusive(site: Site) -> None:
    few = site.report("--out", "few", "--eval-queries", "5", "--gate", "0.7", status=4)
    assert few["data"]["queries"] == 5


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--teacher", "trigram"), "no teacher 'trigram', did you mean 'trigrams'?"),
        (("--teacher", "bigrams"), "was started with --teacher trigrams, not bigrams"),
        (("--epochs", "0"), "--epochs: 0 is not usable"),
        (("--data", "nowhere"), "no data named 'nowhere'"),
    ],
)
def test_what_it_cannot_do_it_says_in_one_line(
    site: Site, args: tuple[str, ...], said: str
) -> None:
    done = site.run("echo", "--data", "data", "--out", "run", *args, status=2)
    assert said in done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_a_run_is_repeated_from_its_config(site: Site) -> None:
    config = str(site.folder / "run" / "config.yaml")
    site.run("echo", "--config", config, "--out", "repeated", "--stages", "collect,train")
    former, repeated = (
        site.folder / name / "student" / "words.json" for name in ("run", "repeated")
    )
    assert repeated.read_bytes() == former.read_bytes()


def test_uninstalled_it_is_gone(site: Site) -> None:
    site.pip("uninstall", "-y", "ragdistill-echo")
    assert "No such command 'echo'" in site.run("echo", "--help", status=2).stderr
    assert "echo" not in site.run("--help").stdout.split()
