"""CLIP, SigLIP and DINO from a local folder: a picture's embedding, to be compared with others."""

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from ..tasks import EMBEDDING
from .guider import Guider, GuiderInfo, fingerprint, own_copy
from .model_folder import read_weights
from .preprocessing import Preprocessing
from .transformers_model import channels_of, load_model
from .transformers_preprocessing import transformers_preprocessing
from .words import KNOW_WORDS, Words

# As config.json names them: classes in transformers.
PICTURES_ONLY = (
    *("CLIPVisionModelWithProjection", "SiglipVisionModel"),
    *("Dinov2Model", "Dinov2WithRegistersModel", "DINOv3ViTModel", "DINOv3ConvNextModel"),
)
ANY_SIZE = ("Siglip2Model", "Siglip2VisionModel")  # they read patches with their places


class EmbeddingModel(nn.Module):
    """Pixels (B, 3, h, w) -> unit vectors (B, D), by the side of `model` that reads pictures.

    A `head` makes scores of them (score_guider.py). Takes the `device` that ComfyUI's patchers set,
    which transformers' own modules refuse.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.vision = getattr(model, "vision_model", model)
        self.projection = getattr(model, "visual_projection", nn.Identity())
        self.head: nn.Module = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = self.vision(pixel_values=pixels, return_dict=True).pooler_output
        return self.head(F.normalize(self.projection(pooled).float(), dim=-1))

    def get_classifier(self) -> nn.Module:
        return self.head


def embeds(config: dict) -> bool:
    """Whether `config` is that of a model that answers with an embedding."""
    return _architecture(config) in (*KNOW_WORDS, *PICTURES_ONLY, *ANY_SIZE)


def load_embedding_folder(folder: Path, config: dict) -> Guider:
    """The side of the model that reads pictures; `Guider.words` reads words, where the folder can.

    ValueError, in one line, for SigLIP 2 of any size and for weights that do not fit.
    """
    architecture = _architecture(config)
    if architecture in ANY_SIZE:
        raise ValueError(
            f"guider {folder.name!r} reads pictures of any size as patches (NaFlex): choose a "
            f"SigLIP 2 of one size, such as google/siglip2-base-patch16-224"
        )
    weights = read_weights(folder)
    model = load_model(architecture, folder)
    channels = channels_of(EmbeddingModel(model).vision.config)
    preprocessing = transformers_preprocessing(folder, whole=False, channels=channels)
    words = Words.of(folder, architecture, weights) if architecture in KNOW_WORDS else None
    source = f"transformers/{folder.name}"
    return embedding_guider(model, source, preprocessing, fingerprint(weights), words)


def embedding_guider(
    model: nn.Module,
    source: str,
    preprocessing: Preprocessing,
    print_of_weights: str,
    words: Words | None = None,
) -> Guider:
    """A guider out of one of transformers' embedding models, wherever it comes from."""
    info = GuiderInfo(source, type(model).__name__, EMBEDDING.name, (), print_of_weights)
    return Guider(EmbeddingModel(model), preprocessing, info, words)


def copy_network(guider: Guider, what: str) -> EmbeddingModel:
    """A copy of `guider`'s network, without experts, on the CPU. ValueError for another kind.

    `what`: what it is needed for, as the error calls it.
    """
    if not isinstance(guider.backbone, EmbeddingModel):
        raise ValueError(
            f"{what} needs a CLIP, SigLIP or DINO that this pack loaded, not {guider.info.source}"
        )
    return own_copy(guider)


def _architecture(config: dict) -> str:
    return (config.get("architectures") or [""])[0]
