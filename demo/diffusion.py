"""Train the demo world's unconditional pixel diffusion model: v-prediction on DDPM-linear noise.

Run by one process or, through torchrun, by several. Every step draws from its own seed, so a
restarted run continues as if it had not stopped.
"""

import argparse
import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from demo.scene_files import load_scenes
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
LEARNING_RATE = 1.5e-3
WARM_UP_STEPS = 200
DECAY_SHARE = 0.4  # of all steps: the learning rate falls to 0 over this last part
EMA_HALF_LIFE_SHARE = 0.02  # of the steps so far


def draw_timesteps(num: int, generator: torch.Generator) -> Tensor:
    """Most of the work where shapes are decided: log-normal sigma_ve, and some of every noise."""
    log_normal = (1.4 * torch.randn(num, generator=generator) - 0.3).exp()
    timesteps = sigma_ve_to_timestep(log_normal).round()
    anywhere = torch.randint(NUM_TIMESTEPS, (num,), generator=generator).double()
    return torch.where(torch.rand(num, generator=generator) < 0.25, anywhere, timesteps)


def v_loss(model: torch.nn.Module, x_0: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of v = alpha eps - sigma x_0 (Salimans & Ho, 2022, appendix D)."""
    timesteps = draw_timesteps(len(x_0), generator)
    sigma_ve = timestep_to_sigma_ve(timesteps).float()
    eps = torch.randn(x_0.shape, generator=generator)
    sigma = per_sample(sigma_ve, x_0)
    v = (eps - sigma * x_0) / (1 + sigma.square()).sqrt()
    return (model(add_noise(x_0, sigma_ve, eps), timesteps.float()) - v).square().mean()


def learning_rate(step: int, total: int) -> float:
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return LEARNING_RATE * warm * min(1.0, (total - step) / (DECAY_SHARE * total))


def ema_decay(step: int) -> float:
    return 0.5 ** (1 / max(1.0, EMA_HALF_LIFE_SHARE * step))


class State:
    """Weights, their moving average, optimiser and step; one safetensors file holds all."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = PixelUNet(CONFIG)
        for block in self.model.modules():  # each block starts as its own skip connection
            last = getattr(block, "out_layers", None) or [getattr(block, "proj_out", None)]
            if isinstance(last[-1], torch.nn.Module):
                torch.nn.init.zeros_(last[-1].weight)
        self.ema = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.99), weight_decay=0.01, foreach=True
        )
        self.step = 0

    def update_ema(self) -> None:
        weights = [v.detach() for v in self.model.state_dict().values()]
        torch._foreach_lerp_(list(self.ema.values()), weights, 1 - ema_decay(self.step))

    def save(self, path: Path) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        save_safetensors(tensors, path, {"step": str(self.step)})

    def load(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            self.step = int(file.metadata()["step"])
        self.model.load_state_dict(_under(tensors, "model."))
        self.ema = {name: tensors[f"ema.{name}"] for name in self.ema}
        moments: dict[int, dict] = {}
        for key, value in _under(tensors, "optimizer.").items():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def average_gradients(model: torch.nn.Module) -> None:
    if not dist.is_initialized():
        return
    grads = [p.grad for p in model.parameters()]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def train(images: Tensor, checkpoint: Path, total: int, batch: int) -> State:
    """`images`: (N, 3, H, W) uint8. Saves every 200 steps; resumes from `checkpoint`."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    state = State()
    if checkpoint.exists():
        state.load(checkpoint)
    bar = tqdm(total=total, initial=state.step, disable=rank > 0, mininterval=10)
    average = None
    while state.step < total:
        generator = torch.Generator().manual_seed(1_000_003 * (state.step + 1) + rank)
        chosen = torch.randint(len(images), (batch,), generator=generator)
        x_0 = images[chosen].float() / 127.5 - 1
        loss = v_loss(state.model, x_0, generator)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(state.model)
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(state.step, total)
        state.optimizer.step()
        state.update_ema()
        state.step += 1
        average = loss.item() if average is None else 0.99 * average + 0.01 * loss.item()
        bar.set_postfix(loss=f"{average:.4f}", refresh=False)
        bar.update()
        if rank == 0 and (state.step % 200 == 0 or state.step == total):
            state.save(checkpoint)
    return state


def save_model(state: State, path: Path) -> None:
    """The averaged weights in half precision, as ComfyUI's loader node of the pack reads them."""
    weights = {k: v.half() for k, v in state.ema.items()}
    save_safetensors(weights, path, {"ppap.pixel_model": json.dumps(CONFIG.to_dict())})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=Path, required=True, help="cached training scenes")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=32, help="images per process and step")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    state = train(load_scenes(args.scenes).image, args.checkpoint, args.steps, args.batch)
    if not dist.is_initialized() or dist.get_rank() == 0:
        save_model(state, args.out)


if __name__ == "__main__":
    main()
