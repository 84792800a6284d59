"""Train the small diffusion model of photographs; stopped, it resumes.

It learns flow matching on the latents of CIFAR-10, as the demo's latent model does on its own.
"""

import torch
from safetensors.torch import load_file

from demo.latent_diffusion import flow_loss, initialise
from demo.training_loop import OptimiserSettings, build_parser, start_processes, train
from ppap_core.atomic import save_safetensors
from ppap_core.comfy_bridge.headless import boot

OPTIMISER = OptimiserSettings(learning_rate=8e-4, warm_up=500)


def main() -> None:
    args = build_parser(__doc__, "latents", batch=64).parse_args()
    is_first = start_processes()
    boot()
    from evidence.cifar.network import build_base

    latents = load_file(args.latents)["latents"]

    def loss_of(network, generator: torch.Generator):
        rows = torch.randint(len(latents), (args.batch,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):  # 1.5 times as fast
            return flow_loss(network, latents[rows].float(), generator)

    network = initialise(build_base().diffusion_model)
    weights = train(network, loss_of, args.checkpoint, args.steps, OPTIMISER)
    if is_first:
        save_safetensors({name: value.half() for name, value in weights.items()}, args.out)


if __name__ == "__main__":
    main()
