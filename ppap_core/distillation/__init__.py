"""Distillation: experts for a guider, taught without labels by the guider itself.

`python -m training` and the node *Train PPAP Experts* run the same code. Nothing here knows
ComfyUI: what draws pictures, and what turns a noisy state into an image, comes in as a function.
"""
