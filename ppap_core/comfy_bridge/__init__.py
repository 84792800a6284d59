"""The only place in the core that imports ComfyUI (written against 0.30.0).

It has no face of its own: each file is imported by name, because most need a configured ComfyUI,
and headless.py must work before there is one.

    headless        find ComfyUI and use it as a library
    folders         the pack's model folders
    guiders         guiders by name, ComfyUI's own depth models among them
    checkpoint      the user's checkpoint; pixel_model: diffusion models that work on pixels
    views           latents as images for the guider, with decoders
    hook            guidance in ComfyUI's sampler, with differentiable and memory
    sampling        pictures sampled by ComfyUI's sampler
    denoise         the model as (x_0, sigma_ve, eps) -> denoised, for training
    trainer         distillation of experts, with preview and live
"""
