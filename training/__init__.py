"""The label-free trainer: from a diffusion checkpoint and a guider to an expert file."""
