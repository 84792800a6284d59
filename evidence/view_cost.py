"""What the views and the Jacobians cost, with a tiny SD1.5 and a ResNet50 of random weights.

A part of `python -m evidence.guidance_cost`.
"""

import tempfile
from pathlib import Path

import torch

from evidence.random_guiders import guider_passes
from evidence.timing import in_turns
from host import tiny_checkpoints, tiny_decoders
from ppap_core.reading import Reading
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget

STEPS = 2
SIDE = 32  # of the latent: pictures of 256 x 256
JACOBIANS = {  # of each reading
    Reading("x_t", "linear_rgb"): ("none",),
    Reading("x_t", "taesd"): ("none",),
    Reading("x_t", "vae"): ("none",),
    Reading("x0_hat", "linear_rgb"): ("none", "jvp", "backprop"),
    Reading("x0_hat", "taesd"): ("none", "jvp"),
    Reading("x0_hat", "vae"): ("none", "jvp"),
}


def view_costs(guider, repeats: int) -> list[str]:
    """A line for each way to read: guided sampling / (unguided sampling + the guider alone)."""
    from ppap_core.comfy_bridge.guide import guide
    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

    model, vae = tiny_checkpoints.build("SD15"), _tiny_vae()
    target = ClassTarget({4: 1.0}, len(guider.info.labels))
    loaded, strength = LoadedGuider.of(guider), Strength(1.0, "raw")
    image = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    actions = {
        "unguided": _sampling(model),
        "guider": guider_passes(guider, target, image, STEPS),
    }
    for reading, jacobians in JACOBIANS.items():
        for jacobian in jacobians:
            read = {"reading": reading, "jacobian": jacobian, "vae": vae}
            name = f"{reading.input}, {reading.view}"
            name += f", {jacobian}" if reading.input == "x0_hat" else ""
            actions[name] = _sampling(guide(model, loaded, target, strength, **read))
    spent = in_turns(actions, repeats)
    unguided, alone = spent.pop("unguided"), spent.pop("guider")
    return [
        f"SD1.5 (tiny), unguided             {unguided:8.3f} s",
        f"ResNet50's own passes              {alone:8.3f} s",
        *(f"{name:<35}{each / (unguided + alone):8.3f} x of both" for name, each in spent.items()),
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
    from ppap_core.comfy_bridge.sampling import sample_seeds

    prompt = tiny_checkpoints.conditioning("SD15")
    prompts = {"positive": prompt, "negative": prompt}
    settings = {"steps": STEPS, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    return lambda: sample_seeds(model, [0], (4, SIDE, SIDE), **settings, **prompts)
