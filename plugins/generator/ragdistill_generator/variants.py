"""The terms that a run's options ask for."""

from typing import Any

import torch

from ragdistill import causal
from ragdistill.errors import UserError
from ragdistill.losses import LogitObjective
from ragdistill.training.layer_maps import mapped
from ragdistill.training.pruning import choose_layers
from ragdistill.training.reading import Reader
from ragdistill.training.watching import last_projections
from ragdistill_generator.ahead import AheadTerm
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.following import AttentionTerm, FeatureTerm
from ragdistill_generator.setup import Setup
from ragdistill_generator.student import check_made
from ragdistill_generator.terms import Term, Terms

MTP_WEIGHT = 0.3
"""DeepSeek-V3's, for most of its training."""


def check(setup: Setup) -> None:
    """Refuse terms that this teacher cannot teach this student.

    Raises:
        UserError: naming the option.
    """
    config = setup.config
    where = "--attention" if config.feature is None else "--feature"
    if config.follows and setup.served:
        raise UserError(
            "the layers of a teacher behind an endpoint are not to be seen",
            where=where,
            mend="leave it out, or give a teacher that is here",
        )
    if config.follows and not setup.alike:
        raise UserError(
            f"{setup.base.name} and {setup.model.name} do not have the same tokens, so a layer of the one "
            "cannot follow the other's",
            where=where,
            mend="leave it out, or give a student with the teacher's tokenizer",
        )
    if config.feature is not None:
        mapped(config.layer_map or "uniform", layers(setup), setup.mentor_layers)


def check_architectures(setup: Setup) -> None:
    """Refuse models that cannot be made, trained or followed as asked, by their configurations.

    Raises:
        UserError: naming the option.
    """
    config, base = setup.config, setup.base
    check_made(base, config, setup.layers)
    if config.attention is not None and setup.mentor_base.weights_digest != base.weights_digest:
        last_projections(causal.shell(setup.mentor_base))


def layers(setup: Setup) -> int:
    """How many the student has."""
    total = causal.depth(setup.base)
    return total if setup.layers is None else len(choose_layers(setup.layers, total))


def plan(setup: Setup) -> tuple[str, ...]:
    """What is asked while the student learns, and what it would take to store that, in words."""
    config = setup.config
    if not config.follows:
        return ()
    mentor = setup.mentor_base
    told = f"ask {mentor.name} for its layers' states at every step; none are stored"
    if config.feature is None:
        return (told,)
    kind = config.layer_map or "uniform"
    pairs = mapped(kind, layers(setup), setup.mentor_layers).values()
    followed = {each for those in pairs for each in those}
    return (f"{told} ({2 * causal.width(mentor) * len(followed):,} bytes a token in float16)",)


def terms(
    config: GeneratorConfig,
    student: Any,
    teacher: Any | None,
    objective: LogitObjective,
    vocabulary: int | None = None,
) -> Terms:
    """What ``student`` learns beside answers.

    Args:
        teacher: the network that is followed, if any is.
        objective: that of the answers: what further heads learn of the main one.
        vocabulary: ids that exist, from 0; None for as many as the student's head has rows.

    Raises:
        UserError: an architecture cannot learn that.
    """
    found: list[Term] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.feature is not None:
            layer_map = config.layer_map or "uniform"
            # Early and late layers' states differ too much in length for squared distances.
            kind = config.feature_loss or ("cosine" if layer_map == "learned" else "mse")
            found.append(FeatureTerm(config.feature, student, teacher, layer_map, kind))
        if config.attention is not None:
            found.append(AttentionTerm(config.attention, student, teacher))
        if config.mtp is not None:
            weight = config.mtp_weight or MTP_WEIGHT
            found.append(AheadTerm(weight, Reader(student), config.mtp, objective, vocabulary))
    return Terms(found, teacher).to(student.device, student.dtype)
