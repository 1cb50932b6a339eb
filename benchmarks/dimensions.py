"""Claim: prefixes of a student of 384 dimensions learnt from a teacher of 1,024 have the nDCG@10 that
they have when the teacher has 384, to within 0.01.

The teacher of 1,024 is MiniLM followed by a map with orthonormal columns and a little noise, so that
it ranks as MiniLM does and all that differs is the number of dimensions. Collections are cut from
the sets in ``RAGDISTILL_TEST_DATA``.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from click.testing import CliRunner
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.sentence_transformer.modules import Normalize

from benchmarks.common import data_folder
from benchmarks.quality import collections, place
from benchmarks.students import STUDENTS, report_of
from ragdistill.cli import main as command
from ragdistill.models.resolve import resolve

WIDE, NOISE = 1024, 0.002


def main() -> None:
    """Print what the prefixes keep with either teacher."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="*", help="names of collections; all if left out")
    parser.add_argument("--method", help="another than the default")
    parser.add_argument("--keep", type=Path, help="where runs stay, and are not run again")
    asked = parser.parse_args()
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    for collection in collections(folder):
        if asked.data and collection.name not in asked.data:
            continue
        with place(collection, asked.keep) as folder:
            narrow = prefixes(folder, "MiniLM", asked.method)
            wide = prefixes(folder, widened(folder / "wide"), asked.method)
        for length in narrow:
            (ours, kept), (theirs, kept_before) = wide[length], narrow[length]
            print(
                f"{collection.name}, {length} dimensions: nDCG@10 {ours:.4f} from {WIDE}, {theirs:.4f} "
                f"from 384, difference {ours - theirs:+.4f}; kept {kept:.4f} and {kept_before:.4f}",
                flush=True,
            )


def widened(folder: Path) -> str:
    """MiniLM with vectors of :data:`WIDE` dimensions, saved in ``folder``."""
    model = SentenceTransformer(str(resolve("MiniLM").path), device="cpu")
    width = int(model.get_embedding_dimension() or 0)
    dense = Dense(width, WIDE, bias=False, activation_function=torch.nn.Identity())
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        torch.nn.init.orthogonal_(dense.linear.weight, generator=draw)
        dense.linear.weight += NOISE * torch.randn(dense.linear.weight.shape, generator=draw)
    model.insert(len(model) - isinstance(model[-1], Normalize), dense)
    if not folder.exists():
        model.save_pretrained(str(folder), create_model_card=False)
    return str(folder)


def prefixes(folder: Path, teacher: str, method: str | None) -> dict[str, tuple[float, float]]:
    """nDCG@10 of each prefix of three layers of MiniLM, and its share of the teacher's."""
    stages = ("--stages", "collect,train,evaluate")
    chosen = ("--method", method) if method else ()
    if teacher == "MiniLM" and not chosen:
        report = report_of(folder, "dims", *stages)
    else:
        words = ["embedder", "--teacher", teacher, "--student", "MiniLM", *STUDENTS["dims"]]
        words += [*chosen, "--data", f"{folder}/data", "--store", f"{folder}/store", "--json"]
        words += ["--out", f"{folder}/from-{Path(teacher).name}", *stages]
        result = CliRunner().invoke(command, words)
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
    found = {length: row["quality"]["nDCG@10"] for length, row in report["prefixes"].items()}
    return {length: (row["student"], row["retention"]) for length, row in found.items()}


if __name__ == "__main__":
    main()
