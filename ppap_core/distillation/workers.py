"""Several processes as one: `accelerate launch` starts them, torch.distributed connects them.

Every process chooses the same random batch and works on its share of it; gradients are averaged.
"""

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


def connect_workers(cpu: bool) -> None:
    """Connect to the processes that `accelerate launch` started with this one, if any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _is_connected():
        from accelerate import PartialState

        PartialState(cpu=cpu)


def rank() -> int:
    return dist.get_rank() if _is_connected() else 0


def world_size() -> int:
    return dist.get_world_size() if _is_connected() else 1


def _is_connected() -> bool:
    return dist.is_available() and dist.is_initialized()


def barrier() -> None:
    if _is_connected():
        dist.barrier()


def same_everywhere(value: float) -> float:
    """The first process' `value`: where each measures its own, they would decide differently."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def share_of(num: int, pieces: int) -> list[slice]:
    """This process' share of a batch of `num`, cut into `pieces`; empty slices are left out."""
    total = world_size() * pieces
    edges = [num * index // total for index in range(total + 1)]
    first = rank() * pieces
    cuts = [slice(edges[i], edges[i + 1]) for i in range(first, first + pieces)]
    return [cut for cut in cuts if cut.stop > cut.start]


def average_gradients(parameters: list[nn.Parameter], loss: Tensor) -> Tensor:
    """Sum gradients and `loss` over all processes: each holds its weighted share of the batch."""
    if world_size() == 1:
        return loss
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([loss.reshape(1), *(p.grad.flatten() for p in parameters)])
    dist.all_reduce(flat)
    loss, *grads = flat.split([1, *(p.numel() for p in parameters)])
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad.copy_(grad.view_as(parameter))
    return loss[0]


def synchronise_norms(module: nn.Module) -> nn.Module:
    """`module`, its BatchNorms taking their statistics over all processes.

    Hooks rather than torch's SyncBatchNorm: that one refuses the CPU, and would replace classes
    that libraries derive from BatchNorm (timm's, with an activation inside).
    """
    if world_size() > 1:
        for child in module.modules():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                child.register_forward_pre_hook(_normalise_by_shared_statistics)
                child.register_forward_hook(_give_buffers_back)
    return module


def _normalise_by_shared_statistics(norm, args):
    """In training: normalise here, and let `norm` itself only scale and shift."""
    if not norm.training:
        return None
    (x,) = args
    channels = x.movedim(1, -1).flatten(0, -2).float()
    count = x.new_tensor([float(len(channels))], dtype=torch.float32)
    sums = torch.cat([count, channels.sum(0), channels.square().sum(0)])
    count, total, squares = all_reduce(sums).split([1, x.shape[1], x.shape[1]])
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
    norm.kept = norm.running_mean, norm.running_var
    norm.running_mean = torch.zeros_like(mean)
    norm.running_var = torch.ones_like(mean) - norm.eps
    norm.training = False
    shape = [1, -1, *[1] * (x.ndim - 2)]
    return ((x - mean.view(shape)) * (variance + norm.eps).rsqrt().view(shape)).to(x.dtype)


def _give_buffers_back(norm, args, output):
    if kept := norm.__dict__.pop("kept", None):
        norm.running_mean, norm.running_var = kept
        norm.training = True
