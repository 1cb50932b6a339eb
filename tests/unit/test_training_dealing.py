"""Shares of a batch: none is lost, and their gradients add up to that of the whole batch."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import torch
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st

from ragdistill.losses import cosine_regression, similarity_kl
from ragdistill.training.dealing import dealt, repeated
from ragdistill.training.schedule import Schedule

BATCHES = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), max_size=7)


@given(BATCHES, st.integers(1, 5))
def test_accelerate_deals_each_step_its_batch(batches: list[list[int]], count: int) -> None:
    blank = 100
    for even in (True, False):
        dealers = [
            BatchSamplerShard(dealt(batches, count, blank), count, rank, even_batches=even)
            for rank in range(count)
        ]
        assert [len(dealer) for dealer in dealers] == [len(batches)] * count
        for batch, *shares in zip(batches, *dealers, strict=True):
            assert [place for share in shares for place in share if place != blank] == batch
            sizes = [len(share) for share in shares if share != [blank]]
            assert max(sizes) - min(sizes) <= 1
            assert all(shares)
        for rank in range(count):
            whole = BatchSamplerShard(repeated(Schedule(batches), count), count, rank)
            assert list(whole) == batches


def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return cosine_regression(student, teacher, None) + similarity_kl(student, teacher)


def vectors(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))


ONE_OF_TWO = """
import json, os, sys, torch
from torch import distributed
from test_training_dealing import loss, vectors
from ragdistill.training.dealing import gathered

distributed.init_process_group("gloo")
rank = distributed.get_rank()
layer = torch.nn.Linear(4, 4, bias=False)
layer.load_state_dict({"weight": vectors(4, 0)})
found = []
for rows, cut in ((7, 4), (3, 0), (1, 1)):
    mine = slice(0, cut) if rank == 0 else slice(cut, rows)
    layer.zero_grad()
    taken = loss(gathered(layer(vectors(rows, 1)[mine])), gathered(vectors(rows, 2)[mine]))
    taken.backward()
    distributed.all_reduce(layer.weight.grad)
    found.append((taken.item(), (layer.weight.grad / 2).tolist()))
wide = gathered(torch.ones(rank + 1, 2 - rank, 3))
found.append((wide.shape, wide.sum().item()))
distributed.destroy_process_group()
json.dump(found, open(sys.argv[1], "w")) if rank == 0 else None
"""


def test_two_processes_find_the_loss_and_the_gradient_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = [str(Path(__file__).parent), *sys.path]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO, str(tmp_path / "found")],
            env={**told, "RANK": str(rank), "PYTHONPATH": ":".join(places), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    *found, wide = json.loads((tmp_path / "found").read_text())
    assert wide == [[3, 2, 3], 2 * 3 + 2 * 3]
    for rows, (value, gradient) in zip((7, 3, 1), found, strict=True):
        weight = vectors(4, 0).requires_grad_()
        expected = loss(vectors(rows, 1) @ weight.T, vectors(rows, 2))
        expected.backward()
        torch.testing.assert_close(torch.tensor(value), expected.detach())
        torch.testing.assert_close(torch.tensor(gradient), weight.grad)
