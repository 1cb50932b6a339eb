"""Claim: training takes at least 1.5 times as many documents a second as sentence-transformers' own
model-distillation recipe (MSELoss on stored teacher vectors, batches of 64 in random order), with
the same student, texts and sequence length."""

import tempfile
from pathlib import Path

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MSELoss
from transformers import PrinterCallback

from benchmarks.common import in_turns, minilm, pydocs_texts, told
from ragdistill_embedder import training
from ragdistill_embedder.config import EmbedderConfig
from ragdistill_embedder.distiller import Similarity
from ragdistill_embedder.encoder import Encoder, Prompts
from ragdistill_embedder.setup import Setup
from ragdistill_embedder.student import make_student


def main(count: int = 2000, rounds: int = 3) -> None:
    """Print the ratio for one pass over ``count`` texts."""
    with tempfile.TemporaryDirectory() as scratch:
        defaults = EmbedderConfig(teacher="MiniLM", student_layers="3", store=f"{scratch}/store")
        setup = Setup(defaults)
        texts = pydocs_texts(count)
        setup.collect(texts)
        plain = [item.text for item in texts]
        labels = setup.stored(plain, "passage").tolist()
        dataset = Dataset.from_dict({"sentence": plain, "label": labels})

        def baseline() -> None:
            with tempfile.TemporaryDirectory() as folder:
                reference_recipe(dataset, folder)

        def ours() -> None:
            learner = Encoder(make_student(minilm(), "3", Prompts()))
            recipe = training.Recipe(
                epochs=1,
                max_tokens=10**9,
                batch_tokens=defaults.batch_tokens,
                lr=defaults.lr,
                seed=0,
                similarity_weight=Similarity.similarity_weight,
            )
            training.fit(
                learner, None, texts[:-1], texts[-1:], setup, recipe, Path(scratch) / "checkpoints"
            )

        ratios = in_turns(baseline, ours, rounds)
    print(f"training against the reference recipe: {told(ratios)}")


def reference_recipe(dataset: Dataset, folder: str) -> None:
    """The documented recipe: one pass, batches of 64, learning rate 1e-4, warm-up 0.1."""
    student = make_student(minilm(), "3", Prompts())
    trainer = SentenceTransformerTrainer(
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
