"""Fit the demo world's score head, how bright a scene is, to its CLIP: `python -m demo.score_head`.

One linear layer on the embedding of clean renders, as in LAION's first aesthetic predictor, by
least squares. The exact truth is `brightness` of the picture itself.
"""

import logging

import torch
from torch import Tensor

from demo.clean_models import begin
from demo.paths import SCORE_HEAD, WORDS_GUIDER
from demo.scene_files import load_heldout_scenes, render_in_parallel
from ppap_core.atomic import save_safetensors
from ppap_core.guiders import Guider, add_score_head, load_guider
from ppap_core.guiders.preprocessing import LUMA

NUM_FIT, NUM_HELDOUT, SEED = 8000, 1000, 2

log = logging.getLogger(__name__)


def brightness(pictures: Tensor) -> Tensor:
    """The mean luma of pictures (N, 3, H, W) in [-1, 1], from 0 (black) to 10 (white): (N,)."""
    luma = torch.einsum("nchw,c->n", pictures, pictures.new_tensor(LUMA))
    return 5 * (1 + luma / pictures[0, 0].numel())


def fit(embeddings: Tensor, scores: Tensor) -> dict[str, Tensor]:
    """The linear layer with the least squared error: (N, D) and (N,) -> its weight and bias."""
    columns = torch.cat((embeddings, torch.ones(len(embeddings), 1)), 1).double()
    solution = torch.linalg.lstsq(columns, scores[:, None].double()).solution[:, 0].float()
    return {"weight": solution[None, :-1].clone(), "bias": solution[-1:].clone()}


@torch.no_grad()
def embed(guider: Guider, pictures: Tensor) -> Tensor:
    return torch.cat([guider(part) for part in pictures.split(250)])


def fit_missing() -> None:
    if SCORE_HEAD.exists():
        return
    pictures = render_in_parallel(NUM_FIT, SEED, 32, "shaded").pictures()
    SCORE_HEAD.parent.mkdir(exist_ok=True)
    layer = fit(embed(load_guider(WORDS_GUIDER), pictures), brightness(pictures))
    save_safetensors(layer, SCORE_HEAD)


def main() -> None:
    begin(__doc__)
    fit_missing()
    scored = add_score_head(load_guider(WORDS_GUIDER), SCORE_HEAD)
    pictures = load_heldout_scenes().pictures(slice(0, NUM_HELDOUT))
    both = torch.stack((embed(scored, pictures)[:, 0], brightness(pictures)))
    log.info("correlation with the truth on renders held out: %.3f", torch.corrcoef(both)[0, 1])


if __name__ == "__main__":
    main()
