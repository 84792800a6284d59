"""The paper's premise in numbers: how often the guider is right about noisy scenes, per range.

python -m evidence.noisy_accuracy prints the plain guider beside each expert, against true labels.
"""

import sys

import torch

from demo.paths import EXPERTS, GUIDER, HELDOUT_SCENES
from demo.scene_files import load_or_render
from ppap_core.distillation.evaluate import agreement_per_range, agreement_table
from ppap_core.distillation.teacher import label_answers
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.expert_file import load_experts
from ppap_core.guiders import load_guider

NUM_SCENES = 2000


def main() -> None:
    guider = load_guider(GUIDER)
    experts = load_experts(EXPERTS).for_guider(guider)
    scenes = load_or_render(HELDOUT_SCENES, 6_000, seed=1)
    images, labels = scenes.image[:NUM_SCENES], scenes.label[:NUM_SCENES]
    truth = label_answers(torch.as_tensor(labels), len(guider.info.labels))
    rows = agreement_per_range(guider, experts, TrainingSet(images, truth))
    sys.stdout.write(f"accuracy on {NUM_SCENES} noisy held-out scenes\n{agreement_table(rows)}\n")


if __name__ == "__main__":
    main()
