"""How often the guider recognises noisy scenes, with and without its experts, per noise range.

`python -m evidence.noisy_accuracy` prints one table; the answers are compared with the true labels.
"""

import argparse
import sys

from demo.paths import EXPERTS, GUIDER
from demo.scene_files import load_heldout_scenes
from ppap_core.distillation.evaluate import HeldOut, agreement_table
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.expert_file import load_experts
from ppap_core.guiders import load_guider
from ppap_core.tasks.class_task import label_answers

NUM_SCENES = 2000


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    guider = load_guider(GUIDER)
    experts = load_experts(EXPERTS).for_guider(guider)
    scenes = load_heldout_scenes()[:NUM_SCENES]
    truth = label_answers(scenes.label, len(guider.info.labels))
    rows = HeldOut(guider, TrainingSet(scenes.image, truth)).rows(experts)
    sys.stdout.write(f"accuracy on {NUM_SCENES} noisy held-out scenes\n{agreement_table(rows)}\n")


if __name__ == "__main__":
    main()
