"""CONDITIONING for many prompts at once, and for checkpoints that came without a text encoder."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .checkpoint import Checkpoint

MOST_KEPT = 64  # encodings: more than the prompts of one batch, as a rule

log = logging.getLogger(__name__)


class Conditionings:
    """CONDITIONING by prompt, encoded when it is asked for; the last MOST_KEPT stay in memory.

    The empty prompt, which every picture is sampled against, always stays.
    """

    def __init__(self, encode: Callable[[str], list]):
        self._encode = encode
        self._kept: OrderedDict[str, list] = OrderedDict()

    def __getitem__(self, prompt: str) -> list:
        if prompt not in self._kept:
            self._kept[prompt] = self._encode(prompt)
        self._kept.move_to_end(prompt)
        if "" in self._kept:
            self._kept.move_to_end("")
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return self._kept[prompt]

    def __len__(self) -> int:
        """How many are in memory."""
        return len(self._kept)


def text_encoder_of(checkpoint: Checkpoint) -> Callable[[str], list]:
    """A prompt -> CONDITIONING; zeros, and a warning, without a text encoder."""
    clip = checkpoint.clip
    if clip is None:
        log.warning("%s: no text encoder, prompts are replaced by zeros", checkpoint.name)
        zeros = zero_conditioning(checkpoint.model)
        return lambda prompt: zeros
    return lambda prompt: clip.encode_from_tokens_scheduled(clip.tokenize(prompt))


CONTEXT_SETTINGS = ("context_dim", "context_in_dim", "cap_feat_dim", "cond_seq_dim")
CONTEXT_OF_CLASS = {"WAN21": 4096, "WAN22": 4096, "PixArt": 4096, "QwenImage": 3584}
POOLED_OF_CLASS = {"SDXL": 1280, "SDXLRefiner": 1280, "SD3": 2048}


def zero_conditioning(model, tokens: int = 2) -> list:
    """CONDITIONING of zeros, in the sizes that the network was built for.

    `tokens`: as in ComfyUI's LotusConditioning, which is for models without a text encoder.
    """
    settings = model.model.model_config.unet_config
    kind = type(model.model).__name__
    widths = [settings[name] for name in CONTEXT_SETTINGS if settings.get(name)]
    if embedder := settings.get("context_embedder_config"):
        widths.append(embedder["params"]["in_features"])
    widths.append(CONTEXT_OF_CLASS.get(kind))
    pooled = POOLED_OF_CLASS.get(kind) or settings.get("vec_in_dim")
    extra = {"pooled_output": torch.zeros(1, pooled)} if pooled else {}
    return [[torch.zeros(1, tokens, widths[0]) if widths[0] else None, extra]]


def stack_conditioning(conditionings: Sequence[list]) -> list | None:
    """One CONDITIONING whose rows are the given ones; None if they do not fit together."""
    if all(one is conditionings[0] for one in conditionings):
        return conditionings[0]
    if any(len(one) != 1 for one in conditionings):
        return None
    contexts, extras = zip(*(one[0] for one in conditionings), strict=True)
    keys = set(extras[0])
    columns = {"context": contexts, **{key: [e.get(key) for e in extras] for key in keys}}
    if any(set(extra) != keys for extra in extras):
        return None
    stacked = {}
    for key, values in columns.items():
        if all(isinstance(v, Tensor) and v.shape == values[0].shape for v in values):
            stacked[key] = torch.cat(list(values))
        elif all(v is values[0] or (not isinstance(v, Tensor) and v == values[0]) for v in values):
            stacked[key] = values[0]
        else:
            return None
    return [[stacked.pop("context"), stacked]]
