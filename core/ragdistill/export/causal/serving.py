"""How a student is served by what others have built."""

import json
import shlex
from pathlib import Path

from ragdistill.errors import UserError


def vllm_line(folder: Path, *, at: str = "") -> str:
    """The command that serves the model in ``folder`` by vLLM, as it is, behind OpenAI's API.

    Args:
        folder: a Hugging Face folder.
        at: what the line calls the folder; "" for where it is. A card is read on other machines.

    Raises:
        UserError: ``folder`` is no model's.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        # GPT-2 has a name of its own for it.
        window = int(config.get("n_positions") or config["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"no configuration of a causal language model ({error})",
            where=path,
            mend="give the folder of a student",
        ) from error
    words = ["vllm", "serve", at or str(folder), "--served-model-name", "student"]
    return shlex.join([*words, "--max-model-len", str(window)])
