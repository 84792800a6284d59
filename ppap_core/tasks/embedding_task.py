"""A picture's embedding, compared with those of words (CLIP, SigLIP) or of pictures (DINO too)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..targets.embedding_target import EmbeddingTarget
from .maps import last_answers
from .task import Comparison, Preview, Recommendation, Recommended, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo


def cosine(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B, D) and (B, D) -> (B,)."""
    return F.cosine_similarity(answer, teacher, dim=1)


def centred_cosine(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): the cosine once the mean of all pictures is taken from both.

    Embeddings of any two pictures lie near to each other: without this, every answer agrees.
    """
    mean = teacher.mean(dim=0) if len(teacher) > 1 else 0.0
    return cosine(answer - mean, teacher - mean)


def embedding_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """1 - cosine: half the squared distance of unit vectors."""
    return (1 - cosine(answer, teacher)).mean()


def mean_direction(teacher: Tensor, temperature: float) -> Tensor:
    """The unit vector with the highest mean cosine."""
    return F.normalize(F.normalize(teacher, dim=1).mean(dim=0, keepdim=True), dim=1)


def preview_embeddings(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """Its own answers, as targets."""
    embeddings, names = last_answers(answers, num)
    weights = torch.ones(len(embeddings), 1)
    return Preview(EmbeddingTarget(embeddings[:, None], weights), names)


EMBEDDING = Task(
    name="embedding",
    answers={"unit vector": "an embedding (a unit vector), to be compared with others"},
    shape=("d",),
    targets=(EmbeddingTarget,),
    model="an embedding model (CLIP, SigLIP, DINO)",
    target_nodes="Target Words",
    recommended=Recommended(
        x_t=Recommendation(0.2),  # that of classes: not measured for embeddings
        x0_hat=Recommendation(0.3, "half-wiener"),
        through_model=Recommendation(0.2, "half-white"),
    ),
    comparisons={
        "unit vector": Comparison(
            embedding_loss, centred_cosine, "cosine less the mean picture's", mean_direction
        )
    },
    preview=preview_embeddings,
)
