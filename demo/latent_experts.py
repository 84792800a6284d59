"""`python -m training distill ...` for the latent demo, with a quicker decoder.

The shipped autoencoder's file is mostly zeros (see `demo.autoencoder`); without them a picture is
decoded in a seventh of the time, and is the same. All flags are the trainer's.
"""

import sys

import torch

from demo.autoencoder import load_autoencoder
from demo.paths import AUTOENCODER
from training.__main__ import build_parser, distill, load_trainer
from training.config import read_config


def use_narrow_decoder(vae) -> None:
    """Our copy of the decoder of `vae` (VAE), which views ask for, becomes the narrow one."""
    from ppap_core.comfy_bridge.decoders import own_decoder

    own_decoder(vae).module.taesd_decoder = load_autoencoder(AUTOENCODER).taesd_decoder


def main() -> None:
    torch.set_num_threads(1)
    config = read_config(build_parser().parse_args(["distill", *sys.argv[1:]]))
    trainer = load_trainer(config)
    use_narrow_decoder(trainer.checkpoint.vae)
    distill(trainer, config)


if __name__ == "__main__":
    main()
