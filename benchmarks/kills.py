"""Claim: ``kill -9`` at any moment of collect and train loses nothing and asks the teacher nothing
twice, and the student is the very one of an undisturbed run.

The parent imports everything once and forks: each child runs the real command and is killed after
a random time, until one child comes to the end; then the next run begins, until enough kills hit.
"""

import hashlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.tiny_models import save_tiny

from ragdistill.cli import main as command
from ragdistill.encoder import Encoder, Rows
from ragdistill.signals.store import Writer


def main(kills: int = 10, seed: int = 0) -> None:
    """Print what was lost, what was asked for again, and whether the students agree.

    A batch that the teacher was working on when it was killed has to be asked for again: nothing
    had been answered. What was answered and stored must never be.
    """
    rng = random.Random(seed)
    died = again = under_way = runs = 0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        teacher, corpus = save_tiny(root / "teacher"), _corpus(root / "data")
        calm = root / "calm"
        assert attempt(teacher, corpus, calm, after=None) == 0, (calm / "log").read_text()
        wanted, longest = set(noted(calm, "stored")), float((calm / "seconds").read_text())
        while died < kills:
            runs += 1
            hard = root / f"hard-{runs}"
            status = -1
            while status != 0:
                after = rng.uniform(0, longest) if died < kills else None
                status = attempt(teacher, corpus, hard, after=after)
                died += status == -signal.SIGKILL
            stored = noted(hard, "stored")
            again += len(stored) - len(set(stored))
            under_way += len(noted(hard, "asked")) - len(noted(calm, "asked"))
            assert digest(hard) == digest(calm), "another student"
            assert set(stored) <= wanted, "something else was asked for"
    print(
        f"{died} kills in {runs} runs: {again} of {len(wanted)} signals asked for again after they "
        f"were stored, {under_way} in batches under way when killed; every student the same"
    )
    assert again == 0


def attempt(teacher: Path, corpus: Path, home: Path, *, after: float | None) -> int:
    """Run the command in a child, killed ``after`` seconds; its exit status, -9 when killed."""
    home.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        _child(teacher, corpus, home)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _child(teacher: Path, corpus: Path, home: Path) -> None:
    """What the child does: the real command, with every asked and every stored text noted."""
    os.environ["RAGDISTILL_HOME"] = str(home / "home")
    for stream in (1, 2):
        os.dup2(os.open(home / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    forward, append = Encoder.forward, Writer.append

    def noting_forward(
        self: Encoder, rows: Rows, prompt: str = "", *, window: int | None = None
    ) -> object:
        answer = forward(self, rows, prompt, window=window)
        _note(home / "asked", [hashlib.sha256(str(row).encode()).digest() for row in rows])
        return answer

    def noting_append(self: Writer, keys: Sequence[bytes], values: object) -> None:
        append(self, keys, values)  # type: ignore[arg-type]
        # Vectors and token states of one text are two signals.
        _note(home / "stored", [self._space.fingerprint.kind.encode() + key for key in keys])

    Encoder.forward = noting_forward  # type: ignore[method-assign,assignment]
    Writer.append = noting_append  # type: ignore[method-assign]
    started = time.perf_counter()
    words = ["embedder", "--teacher", str(teacher), "--student-layers", "2", "--data", str(corpus)]
    words += ["--out", str(home / "run"), "--stages", "collect,train", "--epochs", "2"]
    status = 1
    try:
        command(words, standalone_mode=False)
        status = 0
    finally:
        (home / "seconds").write_text(str(time.perf_counter() - started))
        os._exit(status)


def _note(path: Path, keys: Sequence[bytes]) -> None:
    """One write of the operating system, so that a kill cannot cut it in two."""
    with path.open("ab", buffering=0) as stream:
        stream.write("".join(key.hex() + "\n" for key in keys).encode())


def noted(home: Path, what: str) -> list[str]:
    """What :func:`_note` has noted."""
    return (home / what).read_text().split()


def digest(home: Path) -> str:
    """SHA-256 of the trained weights."""
    return hashlib.sha256((home / "run/student/model.safetensors").read_bytes()).hexdigest()


def _corpus(folder: Path) -> Path:
    rng = random.Random(0)
    words = [f"word{number}" for number in range(500)]
    folder.mkdir()
    with (folder / "corpus.jsonl").open("w") as stream:
        for number in range(1000):
            text = " ".join(rng.choices(words, k=rng.randint(4, 60)))
            stream.write(f'{{"_id": "{number}", "text": "{text}"}}\n')
    return folder


if __name__ == "__main__":
    main()
