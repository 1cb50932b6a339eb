"""The reranker's methods: one distiller, told what to learn by. All three students take each."""

from ragdistill_reranker.distiller import RerankerDistiller


class Listwise(RerankerDistiller):
    """The softmax over a list follows the teacher's."""

    objective = "listwise"


class MarginMSE(RerankerDistiller):
    """The positive is as far above the others as for the teacher."""

    objective = "margin-mse"


class Hinge(RerankerDistiller):
    """It is at least as far above them, and by a margin more."""

    objective = "hinge"


class RankNet(RerankerDistiller):
    """Of each two documents the one that the teacher prefers is above."""

    objective = "ranknet"


class ScoreMSE(RerankerDistiller):
    """Each score is the teacher's."""

    objective = "mse"


class Mix(RerankerDistiller):
    """Half the softmax, half the scores."""

    objective = "mix"
