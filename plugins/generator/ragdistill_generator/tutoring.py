"""Making the tutor that the options ask for."""

import copy

import torch

from ragdistill import causal
from ragdistill.encoder import pick_device
from ragdistill.errors import UserError
from ragdistill.training.pruning import choose_layers
from ragdistill_generator.lesson import Lesson
from ragdistill_generator.on_policy import Sampling
from ragdistill_generator.policy_options import (
    ASKED,
    DECAY,
    OWN,
    SHARE,
    STUDENT_SAMPLING,
    TUTOR_LR,
)
from ragdistill_generator.setup import Setup
from ragdistill_generator.student import Student, make
from ragdistill_generator.tutors import Tutor


def check_tutor(setup: Setup) -> None:
    """Refuse a tutor that cannot say anything to the student, or nothing that it does not say itself.

    Raises:
        UserError: naming the option.
    """
    config = setup.config
    if setup.told and not setup.served and setup.tutor in ASKED and not setup.alike:
        raise UserError(
            "what is asked as the student learns is said in the student's own tokens and template",
            where="--tutor",
            mend="leave it out, or give a student with the teacher's tokenizer",
        )
    if setup.tutor != "stored" and config.besides:
        raise UserError(
            "is learnt where what the teacher said is stored",
            where=config.besides,
            mend="leave it out, or leave out --tutor",
        )
    if config.via and setup.tutor in OWN and not setup.told:
        raise UserError(
            "nothing that one in between says is learnt",
            where="--via",
            mend="leave it out, raise --context-weight, or leave out --tutor",
        )
    if setup.tutor != "peer":
        return
    given = config.peer_layers
    if given is not None:
        choose_layers(given, causal.depth(setup.base), where="--peer-layers")
    elif setup.layers is None and config.lora is None:
        raise _the_same()


def _the_same() -> UserError:
    return UserError(
        "the second student would be what the first is",
        where="--tutor peer",
        mend="name other layers for it, as --peer-layers 0,2,5",
    )


def tutor_of(setup: Setup, student: Student, lesson: Lesson, *, samples: bool) -> Tutor | None:
    """Who teaches ``student``; None where it learns what is stored.

    Args:
        lesson: what is measured to choose a second student's layers.
        samples: whether the student is taught on what it samples.

    Raises:
        UserError: a second student is the first.
    """
    config, name = setup.config, setup.tutor
    if name == "stored":
        return None
    if name == "average":
        decay = DECAY if config.average_decay is None else config.average_decay
        return Tutor(name, copy.deepcopy(student.network), decay=decay)
    if name == "peer":
        return Tutor(name, _peer(setup, student, lesson).network)
    sampling = _sampling(setup, student) if samples else None
    if name == "live":
        return Tutor(name, setup.mentor_network, sampling=sampling)
    # In half precision the small steps of training would be lost.
    network = causal.load(setup.mentor, pick_device(config.device), "float32")
    return Tutor(name, network, lr=config.tutor_lr or TUTOR_LR, sampling=sampling)


def _sampling(setup: Setup, student: Student) -> Sampling:
    config = setup.config
    temperature = config.student_sampling
    return Sampling(
        SHARE if config.lambda_ is None else config.lambda_,
        STUDENT_SAMPLING if temperature is None else temperature,
        config.answer_tokens,
        config.refresh,
        student.tokenizer,
        config.seed,
    )


def _peer(setup: Setup, student: Student, lesson: Lesson) -> Student:
    """The second student: unless its layers are named as many as the first has, evenly spread, or
    the first of all if those are the first's."""
    config, device = setup.config, setup.config.device
    if config.peer_layers is None and setup.layers is None:
        return make(setup.base, device)  # its updates begin otherwise
    tried = [config.peer_layers]
    if config.peer_layers is None:
        count = student.network.config.get_text_config().num_hidden_layers
        tried = [str(count), ",".join(map(str, range(count))) + ","]
    for layers in tried:
        made = make(setup.base, device, layers=layers, lesson=lesson)
        if config.lora is not None or not _alike(made, student):
            return made
    raise _the_same()


def _alike(one: Student, other: Student) -> bool:
    ours, theirs = list(one.network.parameters()), list(other.network.parameters())
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))
