"""From the name of a teacher to what scores pairs: a cross-encoder, a language model or an endpoint."""

from typing import get_args

from ragdistill.causal import usual_precision
from ragdistill.encoder import pick_device
from ragdistill.errors import UserError
from ragdistill.models.aliases import Kind
from ragdistill.models.entry import architecture
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill_reranker.config import RerankerConfig
from ragdistill_reranker.cross_encoder import CrossEncoder
from ragdistill_reranker.endpoint.asking import RERANK
from ragdistill_reranker.endpoint.scorer import EndpointScorer
from ragdistill_reranker.language_model import LanguageModel, Reading
from ragdistill_reranker.own_words import InItsWords, answers_in_its_own_words
from ragdistill_reranker.scoring import Scorer

_KINDS: tuple[Kind, ...] = ("cross-encoder", "causal-lm")


SCORING = ("ForSequenceClassification", "ForCausalLM")
"""How the classes end that score pairs."""


def make_scorer(config: RerankerConfig, name: str) -> Scorer:
    """The teacher ``name``, as ``config`` says.

    Raises:
        UserError: it cannot be had, or scores no pairs.
    """
    if name.startswith(RERANK.prefix):
        return _endpoint(config, name)
    model = resolve(name, kind=_KINDS)
    reading, precision, max_length = config.reading, config.precision, config.max_length
    chosen = pick_device(config.device)
    if is_language_model(model):
        if max_length is not None:
            raise UserError(
                "cuts pairs of cross-encoders", where="--max-length", mend="leave it out"
            )
        if reading is None and answers_in_its_own_words(model.path):
            if precision is not None:
                raise UserError(
                    f"{model.name} is read as sentence-transformers reads it, in the precision it was saved in",
                    where="--precision",
                    mend="leave it out, or give --reading too",
                )
            return InItsWords(model, chosen)
        return LanguageModel(
            model, chosen, reading or _usual(model), precision or usual_precision(chosen)
        )
    for asked, where in ((reading, "--reading"), (precision, "--precision")):
        if asked is not None:
            raise UserError(
                f"is of language models, and {model.name} is a cross-encoder",
                where=where,
                mend="leave it out",
            )
    return CrossEncoder(model, chosen, max_length=max_length)


def _endpoint(config: RerankerConfig, name: str) -> EndpointScorer:
    return EndpointScorer(
        name,
        config.teacher_url,
        key_env=config.teacher_key_env,
        price=config.teacher_price,
        budget=config.teacher_budget,
        batch=config.teacher_batch,
        concurrency=config.teacher_concurrency,
        timeout=config.teacher_timeout,
        store=config.store,
        accept_change=config.accept_teacher_change,
    )


def is_language_model(model: ResolvedModel) -> bool:
    """Whether ``model`` writes text, by its configuration.

    Raises:
        UserError: it neither writes text nor classifies.
    """
    if model.path.is_file():  # GGUF
        return True
    made_for = architecture(model.path)
    if made_for.endswith("ForCausalLM"):
        return True
    if made_for.endswith("ForSequenceClassification"):
        return False
    raise UserError(
        f"is made as {made_for or 'nothing in particular'}, which scores no pairs",
        where=model.path,
        mend="name a cross-encoder (ForSequenceClassification) or a language model (ForCausalLM)",
    )


def _usual(model: ResolvedModel) -> Reading:
    """How a language model is read unless that is said: one made to rerank was taught to say yes."""
    likelihood, odds = get_args(Reading)
    reranks = "rerank" in model.name.casefold()
    found: Reading = odds if reranks else likelihood
    return found
