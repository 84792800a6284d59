"""Train the demo world's CLIP on clean renders and their captions: `python -m demo.word_model`.

An ordinary transformers CLIPModel, small and from nothing, with a tokenizer of the captions' words.
Like the other guiders it never sees noise. It trains what is missing.
"""

import logging

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from demo.captions import NAMES, VOCABULARY, Seen, describe
from demo.clean_models import (
    Recipe,
    begin,
    half_weights,
    halves,
    is_trained,
    move,
    relight,
    train_model,
)
from demo.paths import WORDS_GUIDER
from demo.scene_files import load_heldout_scenes, load_training_scenes
from demo.scenes import random_parameters
from demo.shapes import SHAPES
from demo.tokenizer import END, PAD, START, build_tokenizer, save_tokenizer
from ppap_core.guiders import load_guider

RECIPE = Recipe(seed=0, epochs=3, batch=64, learning_rate=1e-3)
LONGEST, SIDE = 12, 32  # tokens, pixels
LEFT_OUT = 0.15  # the share of captions without the object's colour, and without the floor
PIXELS = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
FRAME = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}

log = logging.getLogger(__name__)


def build() -> CLIPModel:
    text = {
        **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "max_position_embeddings": LONGEST, "vocab_size": 32},
        **{"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END},
    }
    vision = {
        **{"hidden_size": 96, "intermediate_size": 288, "num_hidden_layers": 4},
        **{"num_attention_heads": 3, "image_size": SIDE, "patch_size": 8, "projection_dim": 64},
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def random_captions(seen: Seen) -> tuple[list[str], Tensor]:
    """A caption for each of B scenes, and (B, B): whether the caption j is true of the scene i."""
    num = len(seen.shape)
    says_colour, says_floor = (torch.rand(num) >= LEFT_OUT for _ in range(2))
    captions = []
    for text, colour, floor in zip(seen.captions(), says_colour, says_floor, strict=True):
        _, name, shape, *rest = text.split()
        text = f"a {name} {shape}" if colour else f"a {shape}"
        captions.append(f"{text} {' '.join(rest)}" if floor else text)
    is_true = seen.shape[:, None] == seen.shape
    is_true &= (seen.colour[:, None] == seen.colour) | ~says_colour
    is_true &= (seen.floor[:, None] == seen.floor) | ~says_floor
    return captions, is_true


def contrastive_loss(logits: Tensor, is_true: Tensor) -> Tensor:
    """CLIP's, for captions (columns) that may be true of several pictures (rows)."""
    of_pictures, of_captions = is_true.float(), is_true.T.float()
    losses = (
        F.cross_entropy(logits, of_pictures / of_pictures.sum(1, keepdim=True)),
        F.cross_entropy(logits.T, of_captions / of_captions.sum(1, keepdim=True)),
    )
    return sum(losses) / 2


def train_missing() -> None:
    if is_trained(WORDS_GUIDER):
        return
    scenes, _ = halves(load_training_scenes())
    seen = describe(random_parameters(2 * len(scenes), 0))[: len(scenes)]
    torch.manual_seed(RECIPE.seed)
    tokenizer, model = build_tokenizer(VOCABULARY, LONGEST), build()

    def loss_of(rows: Tensor) -> Tensor:
        captions, is_true = random_captions(seen[rows])
        tokens = tokenizer(captions, padding=True, return_tensors="pt")
        pixels = relight(move(scenes.pictures(rows)), RECIPE.max_noise)
        answer = model(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels
        )
        return contrastive_loss(answer.logits_per_image, is_true)

    train_model(model, loss_of, len(scenes), RECIPE, WORDS_GUIDER.name)
    model.save_pretrained(WORDS_GUIDER, state_dict=half_weights(model))
    CLIPImageProcessor(**FRAME, **PIXELS).save_pretrained(WORDS_GUIDER)
    save_tokenizer(tokenizer, WORDS_GUIDER)


@torch.no_grad()
def accuracy(guider, pictures: Tensor, seen: Seen) -> dict[str, float]:
    """Of the nearest among the captions that differ in one word: whether it is the true one."""
    shares = {}
    for name, candidates in {"colour": NAMES, "shape": SHAPES, "floor": NAMES}.items():
        others = [
            Seen(**vars(seen) | {name: torch.full_like(seen.shape, k)})
            for k in range(len(candidates))
        ]
        texts = [text for other in others for text in other.captions()]
        words = guider.words.read(texts).embeddings.view(len(others), len(pictures), -1)
        answers = (words * guider(pictures)).sum(-1).argmax(0)
        shares[name] = (answers == vars(seen)[name]).float().mean().item()
    return shares


def main() -> None:
    begin(__doc__)
    train_missing()
    heldout = load_heldout_scenes()
    seen = describe(random_parameters(len(heldout), 1))[:1000]
    found = accuracy(load_guider(WORDS_GUIDER), heldout.pictures(slice(0, 1000)), seen)
    log.info("right: %s", ", ".join(f"{name} {share:.1%}" for name, share in found.items()))


if __name__ == "__main__":
    main()
