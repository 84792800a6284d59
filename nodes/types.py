"""The pack's sockets, and what travels through them."""

from comfy_api.latest import io

CATEGORY = "sampling/PPAP guidance"

GuiderSocket = io.Custom("PPAP_GUIDER")  # a LoadedGuider
TargetSocket = io.Custom("PPAP_TARGET")  # a Target
OptionsSocket = io.Custom("PPAP_OPTIONS")  # a Shaping
