"""What the views and the Jacobians cost, with a tiny SD1.5 and a ResNet50 of random weights.

A part of `python -m evidence.guidance_cost`.
"""

import tempfile
from pathlib import Path

import torch

from evidence.timing import in_turns
from host import tiny_checkpoints, tiny_decoders
from ppap_core.comfy_bridge.headless import boot
from ppap_core.reading import Reading

STEPS = 2
SIDE = 32  # of the latent: pictures of 256 x 256
SETTINGS = {  # name: what the guider reads, jacobian
    "x_t, linear_rgb": (Reading("x_t", "linear_rgb"), "none"),
    "x_t, taesd": (Reading("x_t", "taesd"), "none"),
    "x_t, vae": (Reading("x_t", "vae"), "none"),
    "x0_hat, linear_rgb, none": (Reading("x0_hat", "linear_rgb"), "none"),
    "x0_hat, linear_rgb, jvp": (Reading("x0_hat", "linear_rgb"), "jvp"),
    "x0_hat, linear_rgb, backprop": (Reading("x0_hat", "linear_rgb"), "backprop"),
    "x0_hat, taesd, none": (Reading("x0_hat", "taesd"), "none"),
    "x0_hat, taesd, jvp": (Reading("x0_hat", "taesd"), "jvp"),
    "x0_hat, vae, none": (Reading("x0_hat", "vae"), "none"),
    "x0_hat, vae, jvp": (Reading("x0_hat", "vae"), "jvp"),
}


def view_costs(guider, repeats: int) -> list[str]:
    """A line for each of SETTINGS: guided sampling / (unguided sampling + the guider alone)."""
    boot()
    from ppap_core.comfy_bridge.guide import guide
    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider
    from ppap_core.strength import Strength
    from ppap_core.targets import ClassTarget

    model, vae = tiny_checkpoints.build("SD15"), _tiny_vae()
    target = ClassTarget({4: 1.0}, len(guider.info.labels))
    loaded, strength = LoadedGuider.of(guider), Strength(1.0)
    actions = {
        name: _sampling(
            guide(model, loaded, target, strength, reading=reading, jacobian=jacobian, vae=vae)
        )
        for name, (reading, jacobian) in SETTINGS.items()
    }
    actions["unguided"] = _sampling(model)
    actions["guider"] = _guider_alone(guider, target)
    seconds = in_turns(actions, repeats)
    least = seconds["unguided"] + seconds["guider"]
    return [
        f"SD1.5 (tiny), unguided             {seconds['unguided']:8.3f} s",
        f"ResNet50's own passes              {seconds['guider']:8.3f} s",
        *(f"{name:<35}{seconds[name] / least:8.3f} x of both" for name in SETTINGS),
    ]


def _tiny_vae():
    """A VAE with a narrow decoder; a TAESD goes where ComfyUI looks for it."""
    import comfy.sd
    import comfy.utils
    import folder_paths

    folder = Path(tempfile.mkdtemp())
    tiny_decoders.save_taesd(folder, "taesd", 4)
    folder_paths.add_model_folder_path("vae_approx", str(folder), is_default=True)
    path = tiny_decoders.save_kl(folder / "vae.safetensors", 4)
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path)))


def _sampling(model):
    import comfy.sample

    latent = torch.zeros(1, 4, SIDE, SIDE)
    noise = comfy.sample.prepare_noise(latent, 0)
    cond = tiny_checkpoints.conditioning("SD15")
    settings = {"disable_pbar": True, "seed": 0}

    def sample():
        with torch.inference_mode():
            comfy.sample.sample(
                model, noise, STEPS, 1.0, "euler", "simple", cond, cond, latent, **settings
            )

    return sample


def _guider_alone(guider, target):
    image = torch.rand(1, 3, SIDE, SIDE) * 2 - 1

    def passes():
        for _ in range(STEPS):
            x = image.clone().requires_grad_(True)
            torch.autograd.grad(target.log_likelihood(guider(x)).sum(), x)

    return passes
