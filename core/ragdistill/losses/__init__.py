"""Distillation losses as pure functions: tensors in, a scalar tensor out, the paper named.

They take what the student and the teacher said, never a model, and are means over the batch, or over
what counts in it: the same batch in pieces in which as much counts gives the same loss and the same
gradient. A similarity loss and in-batch negatives couple the texts of a batch and are therefore defined
on whole batches only.
"""

from ragdistill.losses.chunked import Head, TeacherStates, chunked_distillation
from ragdistill.losses.contrastive import info_nce
from ragdistill.losses.features import relation_divergences, relations, state_distances
from ragdistill.losses.logits import LogitObjective, logit_distillation, token_divergences
from ragdistill.losses.matryoshka import over_prefixes
from ragdistill.losses.maxsim import maxsim
from ragdistill.losses.regression import cosine_regression, mse_regression
from ragdistill.losses.scores import (
    in_batch_nce,
    listwise_kl,
    margin_hinge,
    margin_mse,
    ranknet,
    score_mse,
)
from ragdistill.losses.similarity import similarity_kl
from ragdistill.losses.states import state_regression, window_means
from ragdistill.losses.targets import SparseTargets, answer_tokens

__all__ = [
    "Head",
    "LogitObjective",
    "SparseTargets",
    "TeacherStates",
    "answer_tokens",
    "chunked_distillation",
    "cosine_regression",
    "in_batch_nce",
    "info_nce",
    "listwise_kl",
    "logit_distillation",
    "margin_hinge",
    "margin_mse",
    "maxsim",
    "mse_regression",
    "over_prefixes",
    "ranknet",
    "relation_divergences",
    "relations",
    "score_mse",
    "similarity_kl",
    "state_distances",
    "state_regression",
    "token_divergences",
    "window_means",
]
