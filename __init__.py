"""PPAP for ComfyUI: an off-the-shelf vision model steers any diffusion checkpoint."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"
__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
