"""Train the demo world's pixel diffusion model: v-prediction on DDPM-linear noise.

With --classes it also learns the scenes' labels, so that classifier-free guidance can be used.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from demo.scene_files import load_scenes
from demo.training_loop import OptimiserSettings, build_parser, start_processes, train
from ppap_core.atomic import save_safetensors
from ppap_core.noise import (
    NUM_TIMESTEPS,
    add_noise,
    per_sample,
    sigma_ve_to_timestep,
    timestep_to_sigma_ve,
)
from ppap_core.pixel_unet import PixelUNet, PixelUNetConfig

CONFIG = PixelUNetConfig(
    image_size=32,
    patch_size=2,
    model_channels=32,
    channel_mult=(1, 2, 4),
    num_res_blocks=1,
    attention_levels=(2,),
    num_head_channels=32,
)
OPTIMISER = OptimiserSettings(learning_rate=1.5e-3)
UNTOLD = 0.15  # share of the scenes whose class the model is not told


def random_timesteps(num: int, generator: torch.Generator) -> Tensor:
    """(num,): three quarters of a log-normal sigma_ve, where shapes are decided, others uniform."""
    log_normal = (1.4 * torch.randn(num, generator=generator) - 0.3).exp()
    timesteps = sigma_ve_to_timestep(log_normal).round()
    anywhere = torch.randint(NUM_TIMESTEPS, (num,), generator=generator).double()
    return torch.where(torch.rand(num, generator=generator) < 0.25, anywhere, timesteps)


def v_loss(
    model: torch.nn.Module, x_0: Tensor, generator: torch.Generator, labels: Tensor | None = None
) -> Tensor:
    """Mean squared error of v = alpha eps - sigma x_0 (Salimans & Ho, 2022, appendix D)."""
    timesteps = random_timesteps(len(x_0), generator)
    sigma_ve = timestep_to_sigma_ve(timesteps).float()
    eps = torch.randn(x_0.shape, generator=generator)
    sigma = per_sample(sigma_ve, x_0)
    v = (eps - sigma * x_0) / (1 + sigma.square()).sqrt()
    if labels is not None:
        labels = labels.where(torch.rand(len(labels), generator=generator) >= UNTOLD, -1)
    answer = model(add_noise(x_0, sigma_ve, eps), timesteps.float(), y=labels)
    return (answer - v).square().mean()


def build_model(config: PixelUNetConfig = CONFIG) -> PixelUNet:
    torch.manual_seed(0)
    model = PixelUNet(config)
    if config.num_classes:
        torch.nn.init.zeros_(model.label_emb.weight)
    for block in model.modules():  # each block starts as its own skip connection
        last = getattr(block, "out_layers", None) or [getattr(block, "proj_out", None)]
        if isinstance(last[-1], torch.nn.Module):
            torch.nn.init.zeros_(last[-1].weight)
    return model


def begin_with(model: PixelUNet, weights: dict[str, Tensor]) -> None:
    """Load `weights`; if they have no classes, every class starts as "no class"."""
    own = {key: value for key, value in model.state_dict().items() if key.startswith("label_emb.")}
    model.load_state_dict(own | {key: value.float() for key, value in weights.items()})


def save_model(weights: dict[str, Tensor], path: Path, config: PixelUNetConfig = CONFIG) -> None:
    """Write `weights` in half precision, for the node Load PPAP Pixel Model."""
    weights = {k: v.half() for k, v in weights.items()}
    save_safetensors(weights, path, {"ppap.pixel_model": json.dumps(asdict(config))})


def main() -> None:
    parser = build_parser(__doc__, "scenes", batch=32)
    parser.add_argument("--classes", type=int, default=0, help="how many the model can be told")
    parser.add_argument("--initial", type=Path, help="start from the weights of this model")
    args = parser.parse_args()
    is_first = start_processes()
    scenes = load_scenes(args.scenes)
    config = replace(CONFIG, num_classes=args.classes)
    model = build_model(config)
    if args.initial:
        begin_with(model, load_file(args.initial))

    def loss_of(model: PixelUNet, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(scenes), (args.batch,), generator=generator)
        labels = scenes.label[chosen] if args.classes else None
        return v_loss(model, scenes.pictures(chosen), generator, labels)

    weights = train(model, loss_of, args.checkpoint, args.steps, OPTIMISER)
    if is_first:
        save_model(weights, args.out, config)


if __name__ == "__main__":
    main()
