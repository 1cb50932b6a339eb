"""The embedder's methods: one distiller, told what to learn by."""

from ragdistill_embedder.distiller import EmbedderDistiller


class Regression(EmbedderDistiller):
    """Each text's vector follows the teacher's."""


class Similarity(EmbedderDistiller):
    """Regression, and the similarities within a batch follow the teacher's."""

    similarity_weight = 0.03


class States(Similarity):
    """Both, and the token states follow the teacher's where the student is made of its layers; any
    other student is taught by the two alone."""

    state_weight = 2.0


class Contrastive(EmbedderDistiller):
    """Regression, and each text's vector finds the teacher's among others and hard negatives."""

    objective, objective_weight = "contrastive", 0.1


class Listwise(EmbedderDistiller):
    """Regression, and each text ranks what is near it as the teacher does."""

    objective, objective_weight = "listwise", 0.1


class MarginMSE(EmbedderDistiller):
    """Regression, and each text is as much nearer to itself than to others as for the teacher."""

    objective, objective_weight = "margin-mse", 1.0
