"""Claim: training takes at least 1.5 times as many documents a second as sentence-transformers' own
model-distillation recipe (MSELoss on stored teacher vectors, batches of 64 in random order), with
the same student, texts and sequence length."""

import tempfile
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MSELoss
from transformers import PrinterCallback

from benchmarks.common import in_turns, minilm, pydocs_documents, pydocs_texts, told
from ragdistill.data.training_texts import TrainText
from ragdistill.encoder import Encoder, Prompts
from ragdistill_embedder import training
from ragdistill_embedder.config import EmbedderConfig
from ragdistill_embedder.lesson import Recipe, make_lesson, tokenised
from ragdistill_embedder.methods import States
from ragdistill_embedder.setup import Setup
from ragdistill_embedder.student import make_student


def main(count: int = 500, rounds: int = 3) -> None:
    """Print the ratio for one pass over ``count`` texts of training, and over as many documents,
    which differ less in length, so that the recipe's batches pad less."""
    compare("texts", pydocs_texts(count), rounds)
    documents = [TrainText(text, "passage") for text in pydocs_documents(count)]
    compare("documents", documents, rounds)


def compare(name: str, texts: list[TrainText], rounds: int) -> None:
    """Print the ratio for one pass over ``texts``."""
    with tempfile.TemporaryDirectory() as scratch:
        defaults = EmbedderConfig(teacher="MiniLM", student_layers="3", store=f"{scratch}/store")
        setup = Setup(defaults, Path(scratch) / "run")
        setup.collect([setup.state_wish(texts)])
        plain = [item.text for item in texts]
        labels = setup.stored(plain, "passage").tolist()
        dataset = Dataset.from_dict({"sentence": plain, "label": labels})

        def baseline() -> None:
            with tempfile.TemporaryDirectory() as folder:
                reference_recipe(dataset, folder)

        ratios = in_turns(baseline, lambda: our_recipe(setup, texts, Path(scratch)), rounds)
    print(f"training on {name} against the reference recipe: {told(ratios)}", flush=True)


def our_recipe(setup: Setup, texts: list[TrainText], scratch: Path) -> None:
    """The default method, tokenisation and reading of the store included; one pass."""
    recipe = Recipe(
        epochs=1,
        max_tokens=10**9,
        batch_tokens=EmbedderConfig.batch_tokens,
        lr=EmbedderConfig.lr,
        seed=0,
        similarity_weight=States.similarity_weight,
        state_weight=States.state_weight,
    )
    learner = Encoder(make_student(minilm(), "3", Prompts()))
    rows = tokenised(learner, texts, setup.by_role)
    lesson = make_lesson(texts, len(texts) - 1, [len(row) for row in rows], recipe)
    signals = training.StoredSignals(texts, rows, learner, setup.vectors, setup.windows)
    training.fit(learner, None, lesson, signals, recipe, scratch / "checkpoints")


class ReferenceTrainer(SentenceTransformerTrainer):  # type: ignore[misc,unused-ignore]
    """sentence-transformers' trainer without its model card: before the first step it tokenises
    and counts examples for one, which is no part of the recipe's speed."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None."""


def reference_recipe(dataset: Dataset, folder: str) -> None:
    """The documented recipe: one pass, batches of 64, learning rate 1e-4, warm-up 0.1."""
    student = make_student(minilm(), "3", Prompts())
    trainer = ReferenceTrainer(
        model=student,
        args=SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=64,
            learning_rate=1e-4,
            warmup_steps=max(1, len(dataset) // 640),
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=dataset,
        loss=MSELoss(student),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


if __name__ == "__main__":
    main()
