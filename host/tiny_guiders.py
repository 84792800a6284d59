"""Small guiders in the folders of those that the workflows on one's own checkpoint name."""

import json
import shutil
from pathlib import Path

from demo.paths import (
    BOXES_GUIDER,
    DEPTH_GUIDER,
    GUIDER,
    POSE_GUIDER,
    SEGMENTATION_GUIDER,
    WORDS_GUIDER,
)
from host.own_graphs import CLASSES, DEPTH, DETECTOR, POSE, SEGMENTATION, UNWANTED, WORDS

ADE20K_CLASSES = 150


def write_named_guiders(models: Path) -> None:
    """The demo's guiders below models/ppap_guiders, with other names of their classes.

    That of ADE20K's classes has random weights.
    """
    root = models / "ppap_guiders"
    shutil.copytree(DEPTH_GUIDER, root / DEPTH)
    shutil.copytree(WORDS_GUIDER, root / WORDS)
    shutil.copytree(POSE_GUIDER, root / POSE)
    for name, labels in ((CLASSES, ["golden retriever"]), (UNWANTED, ["normal", "nsfw"])):
        file = shutil.copytree(GUIDER, root / name) / "config.json"
        config = json.loads(file.read_text("utf-8"))
        config["label_names"] = labels + config["label_names"][len(labels) :]
        file.write_text(json.dumps(config), "utf-8")
    file = shutil.copytree(BOXES_GUIDER, root / DETECTOR) / "config.json"
    config = json.loads(file.read_text("utf-8"))
    config["id2label"] |= {"0": "dog", "1": "cat"}
    file.write_text(json.dumps(config), "utf-8")
    _write_segmenter(root / SEGMENTATION)


def _write_segmenter(folder: Path) -> None:
    import torch
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    names = {index: f"class {index}" for index in range(ADE20K_CLASSES)}
    config = SegformerConfig.from_pretrained(SEGMENTATION_GUIDER, id2label=names)
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    shutil.copy(SEGMENTATION_GUIDER / "preprocessor_config.json", folder)
