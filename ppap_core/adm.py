"""OpenAI's guided-diffusion checkpoints (ADM; Dhariwal & Nichol, 2021) as a `PixelUNet`.

The layout is that of `256x256_diffusion_uncond.pt`, the base model of PPAP's paper: residual blocks
that resample, scale-shift norms, learned variances (three more output channels, dropped here). What
cannot be read from its weights has the published value: 64 channels a head, 32 groups a norm, eps.
"""

from collections.abc import Mapping

from torch import Tensor

from .pixel_unet import PixelUNetConfig

NUM_HEAD_CHANNELS = 64
IMAGE_SIZES = {4: 64, 5: 128, 6: 256}  # by the number of resolutions
FIRST_LAYER = "input_blocks.0.0.weight"
TELLING = {"time_embed.0.weight", FIRST_LAYER, "out.2.weight"}  # by these ADM is recognised


def is_adm(weights: Mapping[str, Tensor]) -> bool:
    """Whether `weights`, of which those named in TELLING suffice, are of an ADM network of pixels.

    Networks of latents can have the same names, but their first layer reads more than 3 channels.
    """
    return weights.keys() >= TELLING and weights[FIRST_LAYER].shape[1:2] == (3,)


def read_adm(weights: Mapping[str, Tensor]) -> tuple[PixelUNetConfig, dict[str, Tensor]]:
    """The network's config, and its weights in float32 without the channels that predict variances.

    ValueError for class-conditional models and other kinds of layers.
    """
    try:
        _check_kind(weights)
        config = _infer_config(weights)
    except KeyError as error:
        raise ValueError(f"its layers are not ADM's: there is no {error}") from None
    kept = {key: value.float() for key, value in weights.items()}
    for key in ("out.2.weight", "out.2.bias"):
        kept[key] = kept[key][: config.in_channels].clone()
    return config, kept


def _check_kind(weights: Mapping[str, Tensor]) -> None:
    """ValueError for variants of ADM that `PixelUNet` cannot represent."""
    if "label_emb.weight" in weights:
        raise ValueError("it is class-conditional: take an unconditional ADM model")
    if any(key.endswith((".op.weight", ".conv.weight")) for key in weights):
        raise ValueError("it resamples by plain convolutions; ADM's resblock_updown is expected")
    scale_shift, out_channels = (
        len(weights[f"input_blocks.1.0.{key}"])
        for key in ("emb_layers.1.weight", "out_layers.0.weight")
    )
    if scale_shift != 2 * out_channels:
        raise ValueError("its norms are not scaled and shifted (use_scale_shift_norm is expected)")


def _infer_config(weights: Mapping[str, Tensor]) -> PixelUNetConfig:
    """Read from the decoder: only there is the layout unambiguous.

    At each resolution but the finest its last stage ends with a block that doubles the resolution.
    """
    blocks = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("output_blocks."))
    doubling = [
        block
        for block in range(blocks)
        if any(f"output_blocks.{block}.{layer}.in_layers.0.weight" in weights for layer in (1, 2))
    ]
    levels = len(doubling) + 1
    first = [block * blocks // levels for block in reversed(range(levels))]
    base = weights["time_embed.0.weight"].shape[1]
    channels = [len(weights[f"output_blocks.{block}.0.in_layers.2.weight"]) for block in first]
    if blocks % levels or any(width % base for width in channels):
        raise ValueError(f"its {blocks} blocks of widths {channels} are not ADM's")
    return PixelUNetConfig(
        image_size=IMAGE_SIZES.get(levels, 2 ** (levels + 2)),
        model_channels=base,
        channel_mult=tuple(width // base for width in channels),
        num_res_blocks=blocks // levels - 1,
        attention_levels=tuple(
            level
            for level, block in enumerate(first)
            if f"output_blocks.{block}.1.qkv.weight" in weights
        ),
        num_head_channels=NUM_HEAD_CHANNELS,
        in_channels=weights[FIRST_LAYER].shape[1],
        prediction="eps",
        group_channels=1,
    )
