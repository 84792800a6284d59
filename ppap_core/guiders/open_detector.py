"""OWLv2: a detector of objects of any kind, and of what a user names."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..tasks import BOXES
from .detector import WholeGradient
from .guider import Guider, GuiderInfo, fingerprint
from .model_folder import read_weights
from .transformers_model import load_model
from .transformers_preprocessing import transformers_preprocessing
from .words import OWL, Words

MODEL_TYPE = "owlv2"
NAMELESS = ("object",)  # what it finds before anything is named


class OpenDetector(nn.Module):
    """Pixels (B, 3, h, w) -> log-odds and boxes (B, Q, K + 4) of K texts, or of any object.

    The boxes are shares of the square that the picture lies in. `queries`: unit vectors of the
    texts (K, D); without any the log-odds are those of OWLv2's own objectness. `model`: its
    Owlv2ForObjectDetection, of which the side that reads words is not needed. Takes the `device`
    that ComfyUI's patchers set, which transformers' own modules refuse.
    """

    def __init__(self, model: nn.Module, queries: Tensor | None = None):
        super().__init__()
        self.model = model
        self.register_buffer("queries", queries)

    def forward(self, pixels: Tensor) -> Tensor:
        with WholeGradient():
            places, _ = self.model.image_embedder(pixels)
            seen = places.flatten(1, 2)
            boxes = self.model.box_predictor(seen, places)
            if self.queries is None:
                log_odds = self.model.objectness_predictor(seen)[..., None]
            else:
                queries = self.queries.expand(len(pixels), -1, -1)
                log_odds, _ = self.model.class_predictor(seen, queries)
        return torch.cat((log_odds, boxes), 2)

    def get_classifier(self) -> nn.Module:
        """The layer whose products with the texts are the log-odds."""
        return self.model.class_head.dense0


class OpenGuider(Guider):
    """A Guider whose backbone reads the picture in the upper left corner of a square."""

    def on_picture(self, answer: Tensor, sides: tuple[int, int]) -> Tensor:
        """With boxes (B, Q, K + 4) as shares of the picture, in place of the square."""
        height, width = (max(sides) / side for side in sides)
        shares = answer.new_tensor([width, height, width, height])
        return torch.cat((answer[..., :-4], answer[..., -4:] * shares), 2)


def load_open_detector(folder: Path) -> Guider:
    """ValueError, in one line, for weights that do not fit, and preprocessing of another kind."""
    weights = read_weights(folder)
    model = load_model(OWL, folder)
    del model.owlv2.text_model, model.owlv2.text_projection
    info = GuiderInfo(
        source=f"transformers/{folder.name}",
        architecture=OWL,
        task=BOXES.name,
        labels=NAMELESS,
        fingerprint=fingerprint(weights),
    )
    preprocessing = transformers_preprocessing(folder, whole=True)
    return OpenGuider(OpenDetector(model), preprocessing, info, Words(folder, OWL, 1.0, 0.0))
