"""The training loop of the demo's generative models, for one process or, under torchrun, several.

Every step has its own random seed, so a run that was stopped continues as if it had not been.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from ppap_core.atomic import load_safetensors, save_safetensors

DECAY_SHARE = 0.4  # the learning rate falls to 0 over this last part of all steps
EMA_HALF_LIFE_SHARE = 0.02  # half-life of the moving average, as a share of the steps so far
SAVE_EVERY = 200


@dataclass(frozen=True)
class OptimiserSettings:
    """AdamW with a warm-up of `warm_up` steps; gradients are clipped to the norm `clip`."""

    learning_rate: float
    warm_up: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0

    def rate(self, step: int, total: int) -> float:
        """The learning rate at `step` of `total`."""
        warm = min(1.0, (step + 1) / self.warm_up)
        return self.learning_rate * warm * min(1.0, (total - step) / (DECAY_SHARE * total))


class State:
    """A model, its weights' moving average, optimiser and step; one safetensors file holds all."""

    def __init__(self, model: nn.Module, settings: OptimiserSettings) -> None:
        self.model = model
        self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            model.parameters(), betas=(0.9, 0.99), weight_decay=settings.weight_decay, foreach=True
        )
        self.step = 0

    def update_ema(self) -> None:
        weights = [v.detach() for v in self.model.state_dict().values()]
        decay = 0.5 ** (1 / max(1.0, EMA_HALF_LIFE_SHARE * self.step))
        torch._foreach_lerp_(list(self.ema.values()), weights, 1 - decay)

    def save(self, path: Path) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        save_safetensors(tensors, path, {"step": str(self.step)})

    def load(self, path: Path) -> None:
        metadata, tensors = load_safetensors(path)
        self.step = int(metadata["step"])
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


def build_parser(description: str | None, data: str, batch: int) -> argparse.ArgumentParser:
    """The flags of a training run; --`data` names the file that it learns from."""
    parser = argparse.ArgumentParser(description=description)
    for name in (data, "checkpoint", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=batch, help="per process and step")
    return parser


def start_processes() -> bool:
    """Connect to the processes that torchrun started, if any; returns whether this is the first."""
    torch.set_num_threads(1)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    return _rank() == 0


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def average_gradients(model: nn.Module) -> None:
    if not dist.is_initialized():
        return
    grads = [p.grad for p in model.parameters()]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def train(
    model: nn.Module,
    loss_of: Callable[[nn.Module, torch.Generator], Tensor],
    checkpoint: Path,
    total: int,
    settings: OptimiserSettings,
) -> dict[str, Tensor]:
    """Train `model` for `total` steps and return the moving average of its weights.

    `loss_of`: model and the step's generator -> loss of this process's batch. Saves to `checkpoint`
    every 200 steps and resumes from it.
    """
    state = State(model, settings)
    if checkpoint.exists():
        state.load(checkpoint)
    bar = tqdm(total=total, initial=state.step, disable=_rank() > 0, mininterval=10)
    average = None
    while state.step < total:
        generator = torch.Generator().manual_seed(1_000_003 * (state.step + 1) + _rank())
        loss = loss_of(model, generator)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        for group in state.optimizer.param_groups:
            group["lr"] = settings.rate(state.step, total)
        state.optimizer.step()
        state.update_ema()
        state.step += 1
        average = loss.item() if average is None else 0.99 * average + 0.01 * loss.item()
        bar.set_postfix(loss=f"{average:.4f}", refresh=False)
        bar.update()
        if _rank() == 0 and (state.step % SAVE_EVERY == 0 or state.step == total):
            state.save(checkpoint)
    return state.ema
