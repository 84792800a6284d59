"""Tiny random diffusion models of real families, loaded by ComfyUI's own loaders.

Imports inside are relative: the tests of the server copy this folder into a custom node.
"""

from .families import FAMILIES, Family
from .models import build, conditioning, empty_latent, randomise, save, use_the_whole_range
from .whole import save_whole

__all__ = [
    "FAMILIES",
    "Family",
    "build",
    "conditioning",
    "empty_latent",
    "randomise",
    "save",
    "save_whole",
    "use_the_whole_range",
]
