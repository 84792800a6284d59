"""Who judges the pictures: EfficientNet-Lite0's features, and a layer fitted to CIFAR's labels."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from evidence.cifar.pictures import NAMES, Labelled, doubled
from evidence.photographs.networks import EFFICIENTNET, load_network
from ppap_core.atomic import save_safetensors
from ppap_core.pixels import bytes_to_image

NUM_FITTED, AT_ONCE, STEPS = 10_000, 100, 300  # pictures; of a pass; of the fit


class PhotographJudge(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1] -> logits (N, 10), one per class of CIFAR-10."""

    def __init__(self, cache: Path) -> None:
        super().__init__()
        self.network = load_network(EFFICIENTNET, None, cache)
        width = self.network.backbone.num_features
        self.head = nn.Linear(width, len(NAMES))

    def features(self, pictures: Tensor) -> Tensor:
        """(N, D): the space of Frechet distances."""
        return torch.cat([self._pooled(part) for part in pictures.split(AT_ONCE)])

    def _pooled(self, pictures: Tensor) -> Tensor:
        backbone = self.network.backbone
        maps = backbone.forward_features(self.network.preprocessing(pictures))
        return backbone.forward_head(maps, pre_logits=True)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.features(pictures))


def load_judge(train: Labelled, cache: Path) -> PhotographJudge:
    """The judge; its layer is fitted to the first of the pictures in `train`, and kept."""
    judge, file = (
        PhotographJudge(cache).requires_grad_(False).eval(),
        cache / f"judge of {len(train.label)}.safetensors",
    )
    if not file.exists():
        with torch.enable_grad():
            save_safetensors(_fit(judge, train), file, {})
    judge.head.load_state_dict(load_file(file))
    return judge


def _fit(judge: PhotographJudge, train: Labelled) -> dict[str, Tensor]:
    """Softmax regression on standardised features, with weight decay, in full batches."""
    chunks = torch.arange(min(NUM_FITTED, len(train.label))).split(AT_ONCE)
    with torch.no_grad():
        seen = [
            judge.features(bytes_to_image(doubled(train.pictures[rows])))
            for rows in tqdm(chunks, desc="judge")
        ]
    features, label = torch.cat(seen), train.label[:NUM_FITTED]
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6
    head = nn.Linear(features.shape[1], len(NAMES))
    nn.init.zeros_(head.weight)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=1.0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(head((features - mean) / std), label).backward()
        optimizer.step()
    weight = head.weight.detach() / std
    return {"weight": weight, "bias": head.bias.detach() - weight @ mean}
