"""The real networks, as guiders that read pictures of one small size."""

from dataclasses import replace
from pathlib import Path

from evidence.photographs.pictures import SIDE
from evidence.photographs.sources import DEEPLAB, MOBILENET
from host.real_guiders import NAME, write_efficientnet_lite0
from ppap_core.guiders import Guider, load_guider

EFFICIENTNET, MOBILENET_V2, DEEPLAB_V3 = "EfficientNet-Lite0", "MobileNetV2", "DeepLabV3"
SOURCES = {MOBILENET_V2: MOBILENET, DEEPLAB_V3: DEEPLAB}
NETWORKS = (EFFICIENTNET, *SOURCES)


def load_network(name: str, folder: Path | None, cache: Path, side: int = SIDE) -> Guider:
    """One of NETWORKS, reading whole pictures at `side` pixels: teacher and student alike.

    `folder`: --networks; EfficientNet-Lite0 comes from its package, by way of `cache`. ValueError
    if the network is not there.
    """
    if name == EFFICIENTNET:
        place = cache / NAME
        if not place.exists():
            write_efficientnet_lite0(cache)
    else:
        source = SOURCES[name]
        if folder is None:
            raise ValueError(f"{name} needs --networks: {source.path}, from {source.address}")
        source.check(folder)
        place = (folder / source.path).parent
    guider = load_guider(place)
    small = {"size": (side, side), "resize_to": None, "crop_fraction": 1.0}
    guider.preprocessing = replace(guider.preprocessing, **small)
    return guider
