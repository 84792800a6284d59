"""The core: an off-the-shelf vision model with noise experts guides a diffusion model."""
