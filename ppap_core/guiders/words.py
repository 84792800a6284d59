"""The side of CLIP, SigLIP and OWLv2 that reads words: in memory only while it reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import one_line
from .model_folder import read_settings
from .plain_folder import in_utf8
from .transformers_model import load_model

if TYPE_CHECKING:  # transformers takes seconds to import, and only its guiders need it
    from transformers import PreTrainedTokenizerBase

CLIP, SIGLIP = "CLIPModel", "SiglipModel"  # classes in transformers
OWL = "Owlv2ForObjectDetection"
KNOW_WORDS = (CLIP, SIGLIP)
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
# Any of these is a tokenizer. Without one, transformers 5 makes one that knows no word.
TOKENIZERS = (TOKENIZER[:1], ("vocab.json", "merges.txt"), ("spiece.model",))


class Embedded(NamedTuple):
    """`embeddings`: unit vectors (N, D). `cut`: what is left of the texts that were too long."""

    embeddings: Tensor
    cut: dict[str, str]


@dataclass(frozen=True)
class Words:
    """Reads words with the model in `folder`; logits of a picture are `scale` cosine + `bias`.

    `architecture`: one of KNOW_WORDS, or OWL. `bias`: None where the model was trained with a
    softmax (CLIP), not with sigmoids.
    """

    folder: Path
    architecture: str
    scale: float
    bias: float | None

    @classmethod
    def of(cls, folder: Path, architecture: str, weights: dict[str, Tensor]) -> "Words":
        """`weights`: those of `folder`. ValueError if they have no scale."""
        if "logit_scale" not in weights:
            raise ValueError(
                f"guider {folder.name!r} has no logit_scale in its weights: download it again"
            )
        bias = weights.get("logit_bias")
        scale = weights["logit_scale"].float().exp().item()
        return cls(folder, architecture, scale, None if bias is None else bias.float().item())

    def read(self, texts: list[str]) -> Embedded:
        """Loads the model, reads all `texts` (at least one) on the CPU, and frees it.

        ValueError, in one line, if the folder has no tokenizer, or one of another model.
        """
        tokenizer = self._tokenizer()
        model = load_model(self.architecture, self.folder).eval()
        try:
            return self._embed(texts, tokenizer, model)
        except Exception as error:  # any library's, for any reason
            raise ValueError(
                f"guider {self.folder.name!r} cannot read words: {one_line(error)}; look whether "
                f"the folder's files belong together"
            ) from error

    def _embed(
        self, texts: list[str], tokenizer: "PreTrainedTokenizerBase", model: nn.Module
    ) -> Embedded:
        model = getattr(model, "owlv2", model)
        tower, project = model.text_model, getattr(model, "text_projection", nn.Identity())
        longest = tower.config.max_position_embeddings
        # Both SigLIPs learned texts in lower case, padded and without a mask.
        is_siglip = self.architecture == SIGLIP
        known = [text.lower() for text in texts] if is_siglip else texts
        fitted = {"truncation": True, "max_length": longest}
        tokens = tokenizer(known, padding="max_length", return_tensors="pt", **fitted)
        given = {"input_ids": tokens["input_ids"]}
        if not is_siglip:
            given["attention_mask"] = tokens["attention_mask"]
        with torch.inference_mode(False), torch.no_grad():
            embeddings = F.normalize(project(tower(**given).pooler_output), dim=-1)
        cut = {
            text: tokenizer.decode(kept, skip_special_tokens=True)
            for text, seen, kept in zip(texts, known, tokens["input_ids"], strict=True)
            if len(tokenizer(seen, verbose=False).input_ids) > longest
        }
        return Embedded(embeddings, cut)

    def _tokenizer(self) -> "PreTrainedTokenizerBase":
        from transformers import AutoTokenizer

        if not any(all((self.folder / f).is_file() for f in files) for files in TOKENIZERS):
            raise ValueError(
                f"guider {self.folder.name!r} cannot read words without its tokenizer: download "
                f"{' and '.join(TOKENIZER)} from the model's page into {self.folder}"
            )
        if (self.folder / TOKENIZER[1]).is_file():
            read_settings(self.folder, TOKENIZER[1])
        try:
            with in_utf8(self.folder) as readable:
                return AutoTokenizer.from_pretrained(
                    readable, local_files_only=True, trust_remote_code=False
                )
        except Exception as error:  # any library's, for any reason
            raise ValueError(
                f"the tokenizer of guider {self.folder.name!r} cannot be read: {one_line(error)}"
            ) from None
