"""Two of mediapipe's networks as guiders: where a person is, and the points of a face."""

from pathlib import Path

import torch
from torch import Tensor, nn

from evidence.faces.tflite_graph import TfliteGraph
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing, fingerprint

LEAST = 1e-4  # probability: its logarithm stays finite
NUM_POINTS = 468
ZERO, ONE = (0.0,) * 3, (1.0,) * 3  # pixels stay in [0, 1]


class PersonLogits(nn.Module):
    """Pixels -> logits of background and person (B, 2, 256, 256)."""

    def __init__(self, folder: Path):
        super().__init__()
        self.graph = TfliteGraph(folder)

    def forward(self, pixels: Tensor) -> Tensor:
        person = self.graph(pixels).clamp(LEAST, 1 - LEAST)
        return torch.cat((1 - person, person), dim=1).log()


class FacePoints(nn.Module):
    """Pixels -> x and y of the points in shares of the sides, (B, 468, 2)."""

    def __init__(self, folder: Path):
        super().__init__()
        self.graph = TfliteGraph(folder)

    def forward(self, pixels: Tensor) -> Tensor:
        points = self.graph(pixels).view(len(pixels), NUM_POINTS, 3)
        return points[..., :2] / pixels.shape[-1]


def load_person(networks: Path) -> Guider:
    folder = networks / "mediapipe_nets" / "selfie_segmentation"
    return _guider(PersonLogits(folder), 256, "segmentation", ("background", "person"))


def load_face_mesh(networks: Path) -> Guider:
    return _guider(FacePoints(networks / "mediapipe_nets" / "face_landmark"), 192, "points", ())


def _guider(network: nn.Module, side: int, task: str, labels: tuple[str, ...]) -> Guider:
    prints = fingerprint(network.state_dict())
    info = GuiderInfo("mediapipe", type(network).__name__, task, labels, prints)
    return Guider(network, Preprocessing((side, side), ZERO, ONE, crop_mode="squash"), info)
