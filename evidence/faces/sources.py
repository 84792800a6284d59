"""What the faces are made and guided by: where each file is from, its licence and SHA-256."""

from evidence.photographs.sources import Source

DENOISER = Source(
    path="celeba_gray/low40.safetensors",
    what="a blind denoiser of grey faces, 40 x 40 (Kadkhodaie et al., 2023)",
    address="github.com/LabForComputationalVision/local-probability-models-of-images at 5e6a25ab",
    licence="MIT",
    sha256="3df1448e097a8c01003ee859ed1920cbdabd50176226855b4a1c6db7432ea0c4",
)
PERSON, FACE_MESH = (
    Source(
        path=f"mediapipe_nets/{folder}",
        what=what,
        address="mediapipe 0.10.14 on PyPI; graph and weights of its .tflite file",
        licence="Apache-2.0",
        sha256=sha256,
    )
    for folder, what, sha256 in (
        (
            "selfie_segmentation",
            "where a person is",
            "47db7c1bc6cbfd4ea81ea066de728549e4b18ef303a30eb64578c8b94533eba9",
        ),
        (
            "face_landmark",
            "468 points of a face",
            "674e6093526ae333d0e1efa96047e33b06bfcae5cce57607659eb731c600215a",
        ),
    )
)
SOURCES = (DENOISER, PERSON, FACE_MESH)
