"""Train the demo world's tiny autoencoder: 64 x 64 pictures <-> latents of 8 x 8 and 16 channels.

Its file has the layout of a TAESD (https://github.com/madebyollin/taesd), which ComfyUI's Load VAE
reads. It takes the place of Flux's VAE: same channels, same scaling. At the finer resolutions only
some of TAESD's 64 channels are used, which makes it quick to train; the others are zero. A part of
the loss makes the latent format's linear factors show the picture, as they do for Flux's latents.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from demo.scene_files import load_scenes
from demo.training_loop import OptimiserSettings, build_parser, start_processes, train
from ppap_core.atomic import save_safetensors

LATENT_CHANNELS, DOWNSCALE, FILE_WIDTH = 16, 8, 64
WIDTHS = (16, 24, 48, 64)  # at the picture's resolution, a half, a quarter and an eighth of it
LATENT_NOISE = 0.2  # largest deviation of the noise that the decoder learns to ignore
LINEAR_WEIGHT = 0.2  # of the linear preview's error in the loss
# From ComfyUI's latent_formats.Flux (0.30.0); the factors turn a latent into its preview.
FLUX_SCALE, FLUX_SHIFT = 0.3611, 0.1159
FLUX_RGB = (
    (-0.0346, 0.0244, 0.0681),
    (0.0034, 0.0210, 0.0687),
    (0.0275, -0.0668, -0.0433),
    (-0.0174, 0.0160, 0.0617),
    (0.0859, 0.0721, 0.0329),
    (0.0004, 0.0383, 0.0115),
    (0.0405, 0.0861, 0.0915),
    (-0.0236, -0.0185, -0.0259),
    (-0.0245, 0.0250, 0.1180),
    (0.1008, 0.0755, -0.0421),
    (-0.0515, 0.0201, 0.0011),
    (0.0428, -0.0012, -0.0036),
    (0.0817, 0.0765, 0.0749),
    (-0.1264, -0.0522, -0.1103),
    (-0.0280, -0.0881, -0.0499),
    (-0.1262, -0.0982, -0.0778),
)
FLUX_RGB_BIAS = (-0.0329, -0.0718, -0.0851)
OPTIMISER = OptimiserSettings(learning_rate=2e-3, warm_up=100, weight_decay=0.0, clip=1.0)


class Block(nn.Module):
    """Three convolutions beside a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def build_encoder(widths: tuple[int, ...] = WIDTHS) -> nn.Sequential:
    """picture (B, 3, H, W) in [0, 1] -> latent (B, 16, H / 8, W / 8), about [-3, 3]."""
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1), Block(widths[0])]
    for fine, coarse in zip(widths[:-1], widths[1:], strict=True):
        layers.append(nn.Conv2d(fine, coarse, 3, stride=2, padding=1, bias=False))
        layers += [Block(coarse) for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], LATENT_CHANNELS, 3, padding=1))


def build_decoder(widths: tuple[int, ...] = WIDTHS) -> nn.Sequential:
    """latent (B, 16, h, w) -> picture (B, 3, 8 h, 8 w), about [0, 1]."""
    layers = [Clamp(), nn.Conv2d(LATENT_CHANNELS, widths[-1], 3, padding=1), nn.ReLU()]
    for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True):
        layers += [Block(coarse) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(coarse, fine, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, Block(widths[0]), nn.Conv2d(widths[0], 3, 3, padding=1))


class Autoencoder(nn.Module):
    """The networks of ComfyUI's TAESD. Pictures are in [-1, 1], latents in the sampler's scale."""

    def __init__(self) -> None:
        super().__init__()
        self.taesd_encoder, self.taesd_decoder = build_encoder(), build_decoder()

    def encode(self, image: Tensor) -> Tensor:
        return self.taesd_encoder(image / 2 + 0.5)

    def decode(self, latent: Tensor) -> Tensor:
        return self.taesd_decoder(latent) * 2 - 1


def reconstruction_loss(model: Autoencoder, image: Tensor, generator: torch.Generator) -> Tensor:
    """Absolute and squared error of the picture, and the squared error of its linear preview."""
    latent = model.encode(image)
    coarse = F.avg_pool2d(image, DOWNSCALE)
    linear = torch.einsum("bchw,cd->bdhw", latent, torch.tensor(FLUX_RGB))
    linear = linear + torch.tensor(FLUX_RGB_BIAS).view(1, 3, 1, 1)
    deviation = LATENT_NOISE * torch.rand(len(image), 1, 1, 1, generator=generator)
    error = model.decode(latent + deviation * torch.randn(latent.shape, generator=generator))
    error = error - image
    return error.abs().mean() + error.square().mean() + LINEAR_WEIGHT * F.mse_loss(linear, coarse)


def widen(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fill every hidden width up to TAESD's own with channels of zeros."""

    def fill(name: str, value: Tensor) -> Tensor:
        coder = "taesd_encoder" if name.startswith("taesd_encoder") else "taesd_decoder"
        layers = sorted({int(n.split(".")[1]) for n in weights if n.startswith(coder)})
        layer = int(name.split(".")[1])
        shape = [FILE_WIDTH] * min(value.ndim, 2) + list(value.shape[2:])
        if layer == layers[-1]:
            shape[0] = value.shape[0]
        if layer == layers[0] and value.ndim > 1:
            shape[1] = value.shape[1]
        full = value.new_zeros(shape)
        full[tuple(slice(size) for size in value.shape)] = value
        return full

    return {name: fill(name, value) for name, value in weights.items()}


def save_autoencoder(weights: dict[str, Tensor], path: Path) -> None:
    """Write `weights` in half precision, with Flux's scale and shift, for ComfyUI's Load VAE."""
    scaling = {"vae_scale": torch.tensor(FLUX_SCALE), "vae_shift": torch.tensor(FLUX_SHIFT)}
    save_safetensors({k: v.half() for k, v in widen(weights).items()} | scaling, path)


def load_autoencoder(path: Path) -> Autoencoder:
    """A trained autoencoder, frozen, without the channels of zeros in its file."""
    model, weights = Autoencoder(), load_file(path)
    model.load_state_dict(
        {k: weights[k][tuple(map(slice, v.shape))].float() for k, v in model.state_dict().items()}
    )
    return model.eval().requires_grad_(False)


def main() -> None:
    args = build_parser(__doc__, "scenes", batch=16).parse_args()
    is_first = start_processes()
    scenes = load_scenes(args.scenes)

    def loss_of(model: Autoencoder, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (args.batch,), generator=generator)
        image = scenes.pictures(rows).contiguous(memory_format=torch.channels_last)
        return reconstruction_loss(model, image, generator)

    torch.manual_seed(0)
    model = Autoencoder().to(memory_format=torch.channels_last)
    weights = train(model, loss_of, args.checkpoint, args.steps, OPTIMISER)
    if is_first:
        save_autoencoder(weights, args.out)


if __name__ == "__main__":
    main()
