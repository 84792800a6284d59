"""The core: an off-the-shelf vision model with noise experts guides a diffusion model.

It needs torch, but no ComfyUI outside comfy_bridge/. Each file is imported by name, so that finding
ComfyUI (comfy_bridge/headless.py) does not wait for torch.

    guiders/         a folder -> a Guider: the vision model with its preprocessing
    targets/         what a guider should answer, as a log-likelihood
    experts, expert_file, expert_header    adapters per noise range, and their file
    noise            noise levels and noise ranges
    views            latents as images
    guidance, strength, jacobian           the gradient, and how it moves a picture
    distillation/    training of experts
    comfy_bridge/    all of this in ComfyUI
    pixel_unet, adm  diffusion models that work on pixels
"""
