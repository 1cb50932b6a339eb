"""Distributions of answers in the store: its verbs know them, and no kill loses one."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from logit_helpers import V, answer, assert_same, fingerprint
from ragdistill.cli.signals import signals
from ragdistill.signals.logits import Kept, LogitCodec, Sampled, TopK
from ragdistill.signals.store import SignalStore
from signals_helpers import keys, run


@pytest.mark.parametrize("kept", [TopK(0.9, 20), Sampled(12)], ids=str)
def test_answers_lie_in_the_store_and_the_verbs_know_them(kept: Kept, tmp_path: Path) -> None:
    codec = LogitCodec(V, kept)
    wanted = keys(range(30))
    said = [answer(1 + number % 5, kept, seed=number) for number in range(30)]
    store = SignalStore(tmp_path)
    opened = store.space(fingerprint(codec, template="chat"), teacher="T")
    assert opened.codec == codec
    with opened.writer(flush_bytes=2000) as writer:
        for start in range(0, 30, 7):
            writer.append(wanted[start : start + 7], said[start : start + 7])
    again = SignalStore(tmp_path).space(fingerprint(codec, template="chat"), teacher="T")
    order = np.random.default_rng(0).permutation(30)
    for number, found in zip(order, again.get([wanted[i] for i in order]), strict=True):
        assert_same(found, said[number])
    for other in (replace(codec, bits=7), LogitCodec(V, replace(kept, temperature=2.0))):
        changed = store.space(fingerprint(other, template="chat"), teacher="T")
        assert changed.missing(wanted) == list(range(30))
    listed = CliRunner().invoke(signals, ["list", "--store", str(tmp_path), "--json"])
    (told,) = [item for item in json.loads(listed.stdout) if item["records"]]
    assert (told["kind"], told["records"], told["dimensions"]) == ("logits", 30, V)
    assert CliRunner().invoke(signals, ["verify", "--store", str(tmp_path)]).exit_code == 0
    command = ["export", again.id[:8], str(tmp_path / "said.parquet"), "--store", str(tmp_path)]
    assert CliRunner().invoke(signals, command).exit_code == 0


_COLLECT = """
import os, signal, sys
from ragdistill.signals import journal
from ragdistill.signals.store import SignalStore
from logit_helpers import V, answer, fingerprint
from ragdistill.signals.logits import LogitCodec, Sampled
from signals_helpers import keys

appends, moment = int(sys.argv[3]), sys.argv[4]
CODEC = LogitCodec(V, Sampled(30))

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

space = SignalStore(sys.argv[1]).space(fingerprint(CODEC), teacher="T")
log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
missing = space.missing(keys(range(60)))
with space.writer(flush_bytes=4000) as writer:
    for start in range(0, len(missing), 4):
        part = missing[start : start + 4]
        if start // 4 == appends and moment == "while sealing":
            journal.Journal.remove = die
            break
        os.write(log, "".join(f"{number} " for number in part).encode())
        writer.append(keys(part), [answer(number % 7, CODEC.kept, seed=number) for number in part])
        if start // 4 == appends and moment == "after a batch":
            die()
"""
CODEC = LogitCodec(V, Sampled(30))


def test_no_answer_is_lost_or_asked_for_again_when_a_kill_ends_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for appends, moment in ((0, "after a batch"), (5, "after a batch"), (3, "while sealing")):
        died = run(_COLLECT, tmp_path / "store", log, appends, moment).returncode
        assert died == -signal.SIGKILL
    assert run(_COLLECT, tmp_path / "store", log, -1, "never").returncode == 0
    assert sorted(map(int, log.read_text().split())) == list(range(60))
    space = SignalStore(tmp_path / "store").space(fingerprint(CODEC), teacher="T")
    assert space.missing(keys(range(60))) == []
    assert space.verify() == []
    for number, found in enumerate(space.get(keys(range(60)))):
        said = answer(number % 7, CODEC.kept, seed=number)
        assert_same(found, said)
        np.testing.assert_array_equal(found.probs, said.probs)
