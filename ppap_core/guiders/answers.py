"""What the numbers that a network answers with mean, as far as its config.json says."""

import torch
from torch import Tensor

# transformers' `problem_type`, which this pack reads in the folders of every library.
PROBLEM_TYPES = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "score",
}
BACKGROUND = "background"


def class_answer(config: dict, num_classes: int, usual: str = "softmax") -> str:
    """What a classifier of `num_classes` outputs answers: "softmax", "sigmoid" or "score".

    The rule of transformers' pipeline: a single output is a sigmoid, unless it is a regression.
    `usual`: the answer of several outputs where `config` has no problem_type. ValueError for an
    unknown one.
    """
    problem_type = config.get("problem_type")
    if problem_type is not None and problem_type not in PROBLEM_TYPES:
        raise ValueError(
            f"problem_type in config.json is one of {', '.join(PROBLEM_TYPES)}, "
            f"got {problem_type!r}"
        )
    answer = PROBLEM_TYPES.get(problem_type, usual)
    return "sigmoid" if num_classes == 1 and answer == "softmax" else answer


def refuse_overlapping_classes(config: dict, num_classes: int) -> None:
    """ValueError if `config` says that a pixel may have several of `num_classes` classes."""
    if num_classes > 1 and class_answer(config, num_classes) != "softmax":
        raise ValueError(
            f"problem_type is {config['problem_type']!r}: a pixel may have several of the classes, "
            f"which a label map cannot ask for; choose a model whose classes exclude each other"
        )


def segmentation_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of what `with_background` gives."""
    return (BACKGROUND, *labels) if len(labels) == 1 else labels


def with_background(logits: Tensor) -> Tensor:
    """(B, K, h, w) as it is; one logit (B, 1, h, w) -> (B, 2, h, w): background and the class.

    A softmax over 0 and z is a sigmoid of z and its opposite, so one class with a sigmoid becomes
    two classes that exclude each other.
    """
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits
