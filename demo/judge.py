"""The judge: recognises the shapes in generated pictures, for evaluation only.

It shares nothing with the guiders: another architecture (no batch statistics, no skip connections),
other renders, another seed.
"""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

NUM_FEATURES = 128


def block(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width_in, width_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, width_out), nn.SiLU())


class Judge(nn.Module):
    """image (B, 3, 32, 32) in [-1, 1] -> logits (B, 10), one per name in `demo.shapes.SHAPES`."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            block(12, 64),
            block(64, 64),
            block(64, 96, stride=2),
            block(96, 128),
            block(128, 128, stride=2),
            block(128, NUM_FEATURES),
        )
        self.head = nn.Linear(NUM_FEATURES, num_classes)

    def features(self, image: Tensor) -> Tensor:
        """image (B, 3, 32, 32) in [-1, 1] -> (B, NUM_FEATURES), the space of Frechet distances."""
        return self.trunk(image).mean((2, 3))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def load_judge(path: Path | str) -> Judge:
    """A trained judge, frozen, in evaluation mode."""
    judge = Judge()
    judge.load_state_dict(load_file(path))
    return judge.eval().requires_grad_(False)
