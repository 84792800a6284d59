"""Train the demo world's unconditional latent diffusion model: a Flux of 2.8 million parameters.

The network is ComfyUI's own, in the smallest layout that Load Diffusion Model still takes for a
Flux. It learns flow matching (Esser et al., 2024) on the latents of `demo.autoencoder`. Its prompt
is always TOKENS tokens of zeros.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from demo.autoencoder import load_autoencoder
from demo.scene_files import load_scenes
from demo.training_loop import OptimiserSettings, build_parser, start_processes, train
from ppap_core.atomic import save_safetensors
from ppap_core.comfy_bridge.headless import boot

TOKENS, PROMPT_WIDTH = 2, 1024  # as ComfyUI's LotusConditioning gives, without a text encoder
SETTINGS = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "hidden_size": 128,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 8,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "context_in_dim": PROMPT_WIDTH,
    "vec_in_dim": 32,
    "guidance_embed": False,
    "txt_ids_dims": [],
    "yak_mlp": False,
    "txt_norm": False,
}
OPTIMISER = OptimiserSettings(learning_rate=1.5e-3, warm_up=300)


def build_network() -> nn.Module:
    """ComfyUI's Flux with initial weights."""
    import comfy.supported_models

    config = comfy.supported_models.FluxSchnell(dict(SETTINGS))
    config.set_inference_dtype(torch.float32, None)
    return initialise(config.get_model({}, device="cpu").diffusion_model)


def initialise(network: nn.Module) -> nn.Module:
    """Set the weights of ComfyUI's Flux, whose layers leave them unset, and begin to learn.

    Every block begins as its skip connection.
    """
    torch.manual_seed(0)
    for name, value in network.named_parameters():
        if "norm" in name:
            nn.init.ones_(value)
        elif value.ndim == 1 or "mod" in name or name.startswith("final_layer"):
            nn.init.zeros_(value)
        else:
            nn.init.xavier_uniform_(value)
    return network.train().requires_grad_(True)


def flow_loss(network: nn.Module, x_0: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of eps - x_0 at x_t = (1 - t) x_0 + t eps; t is logit-normal."""
    from ppap_core.comfy_bridge.differentiable import differentiable

    t = torch.randn(len(x_0), generator=generator).sigmoid()
    anywhere = torch.rand(len(x_0), generator=generator)
    t = torch.where(torch.rand(len(x_0), generator=generator) < 0.2, anywhere, t)
    eps = torch.randn(x_0.shape, generator=generator)
    weight, empty_prompt = t.view(-1, 1, 1, 1), torch.zeros(len(x_0), TOKENS, PROMPT_WIDTH)
    with differentiable():
        flow = network((1 - weight) * x_0 + weight * eps, t, empty_prompt)
    return (flow - (eps - x_0)).square().mean()


@torch.no_grad()
def encode_scenes(scenes: Path, autoencoder: Path, out: Path) -> None:
    """Write the latents of all scenes: (N, 16, 8, 8), float32, in the sampler's scale."""
    loaded, model = load_scenes(scenes), load_autoencoder(autoencoder)
    parts = [model.encode(loaded.pictures(rows)) for rows in torch.arange(len(loaded)).split(250)]
    save_safetensors({"latents": torch.cat(parts)}, out)


def main() -> None:
    args = build_parser(__doc__, "latents", batch=64).parse_args()
    is_first = start_processes()
    boot()
    latents = load_file(args.latents)["latents"]

    def loss_of(network: nn.Module, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(latents), (args.batch,), generator=generator)
        return flow_loss(network, latents[rows], generator)

    weights = train(build_network(), loss_of, args.checkpoint, args.steps, OPTIMISER)
    if is_first:
        save_safetensors({name: value.half() for name, value in weights.items()}, args.out)


if __name__ == "__main__":
    main()
