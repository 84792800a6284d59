"""Guiders known by name, which can be downloaded from the Hugging Face hub (download.py)."""

from dataclasses import dataclass

from .labels import TAGS
from .model_folder import CONFIG, WEIGHTS
from .transformers_preprocessing import PROCESSOR
from .words import TOKENIZER

TIMM, TRANSFORMERS = (CONFIG, WEIGHTS), (CONFIG, PROCESSOR, WEIGHTS)
WITH_WORDS = (*TRANSFORMERS, *TOKENIZER)
APACHE, RESEARCH = "Apache-2.0", "NVIDIA: research only"
META = "other (see the model's page)"


@dataclass(frozen=True)
class Preset:
    """A repository of the hub, and what a person wants to know before the download.

    `megabytes`: of its weights. `reads`: the size of its pictures, in pixels. `num_classes`: 0 for
    depth and embeddings. `good_for`: in a few words. `files`: those that are downloaded.
    `revision`: a commit, or the branch whose newest commit is taken. `sha256`: of that commit's
    weights, of presets that templates name: ComfyUI compares it when it downloads them itself.
    """

    repo: str
    task: str
    licence: str
    megabytes: int
    reads: int
    num_classes: int
    good_for: str
    files: tuple[str, ...] = TIMM
    revision: str = "main"
    sha256: str = ""

    @property
    def facts(self) -> str:
        """Licence and size, for whoever decides about a download."""
        return f"{self.megabytes} MB, licence {self.licence}"


# By task, and from small to strong. Every repository holds safetensors.
_PRESETS = (
    Preset(
        *("timm/mobilenetv3_large_100.ra_in1k", "class", APACHE, 22, 224, 1000),
        good_for="first tries; the fastest",
    ),
    Preset(
        *("timm/resnet18.a1_in1k", "class", APACHE, 47, 224, 1000),
        good_for="little memory",
        revision="ebd61f9c7420e5b5b53262b8ce6bbe311e1e872a",
    ),
    Preset(
        *("timm/resnet50.a1_in1k", "class", APACHE, 102, 224, 1000),
        good_for="ImageNet's classes; the paper's network",
    ),
    Preset(
        *("timm/deit_small_patch16_224.fb_in1k", "class", APACHE, 88, 224, 1000),
        good_for="ImageNet's classes; the paper's transformer",
    ),
    Preset(
        *("timm/convnext_tiny.in12k_ft_in1k", "class", APACHE, 114, 224, 1000),
        good_for="ImageNet's classes; the best for its cost",
        revision="aa096f03029c7f0ec052013f64c819b34f8ad790",
        sha256="a1aefa409b513cf209b085424eb3efffe4e4a9f511491bc2c12ea35209e6bb95",
    ),
    Preset(
        *("timm/convnext_base.fb_in22k_ft_in1k", "class", APACHE, 354, 224, 1000),
        good_for="ImageNet's classes; the strongest here",
    ),
    Preset(
        *("timm/convnext_tiny.fb_in22k", "class", APACHE, 178, 224, 21841),
        good_for="things that ImageNet's thousand lack",
        revision="41cd7ee36391357bf7f90d68dd9446e292402e58",
    ),
    Preset(
        *("SmilingWolf/wd-vit-tagger-v3", "class", APACHE, 378, 448, 10861),
        good_for="drawings; several tags at once",
        files=(CONFIG, TAGS, WEIGHTS),
        revision="7f6b584d0bd3f55c4531f14ba3d4761b2bccdc0f",
    ),
    Preset(
        *("Falconsai/nsfw_image_detection", "class", APACHE, 343, 224, 2),
        good_for="away from nsfw: `nsfw:-1`",
        files=TRANSFORMERS,
        revision="96cb0d0342c7afb80cab76ecc58b265fa44da256",
        sha256="97b2ce64ec146884b37f98ee7944ca4891aa72f6827dc0cb10684a1cbecd5830",
    ),
    Preset(
        *("depth-anything/Depth-Anything-V2-Small-hf", "depth", APACHE, 99, 518, 0),
        good_for="layout of any scene; start here",
        files=TRANSFORMERS,
        revision="5426e4f0f36572d16453bbda7a8389317b1bef99",
        sha256="3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70",
    ),
    Preset(
        *("LiheYoung/depth-anything-base-hf", "depth", APACHE, 390, 518, 0),
        good_for="finer shapes",
        files=TRANSFORMERS,
    ),
    Preset(
        *("LiheYoung/depth-anything-large-hf", "depth", APACHE, 1340, 518, 0),
        good_for="the finest shapes",
        files=TRANSFORMERS,
        revision="27ccb0920352c0c37b3a96441873c8d37bd52fb6",
    ),
    Preset(
        *("Intel/dpt-large", "depth", APACHE, 1370, 384, 0),
        good_for="maps made with MiDaS",
        files=TRANSFORMERS,
        revision="bc15f29aa3a80d532f2ed650b5e16ac48d8958f9",
    ),
    Preset(
        *("nvidia/segformer-b0-finetuned-ade-512-512", "segmentation", RESEARCH, 15, 512, 150),
        good_for="ADE20K (rooms, streets, nature); the fastest",
        files=TRANSFORMERS,
    ),
    Preset(
        *("openmmlab/upernet-convnext-tiny", "segmentation", "MIT", 241, 512, 150),
        good_for="ADE20K, free to use",
        files=TRANSFORMERS,
        revision="876ffc56b819a829448f7e81e9f8606deef6fb65",
        sha256="cd55b1d36c6602d34f8cd300d7f788ea0fa5c3ed928e9ac98f353ecb31c7fa1d",
    ),
    Preset(
        *("facebook/mask2former-swin-tiny-coco-panoptic", "segmentation", META, 190, 384, 133),
        good_for="COCO: people, animals, things",
        files=TRANSFORMERS,
    ),
    Preset(
        *("facebook/mask2former-swin-tiny-cityscapes-panoptic", "segmentation", META, 190, 384, 19),
        good_for="Cityscapes: streets",
        files=TRANSFORMERS,
    ),
    Preset(
        *("facebook/dinov2-base", "embedding", APACHE, 346, 224, 0),
        good_for="likeness to a picture, no words",
        files=TRANSFORMERS,
    ),
    Preset(
        *("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "embedding", "MIT", 605, 224, 0),
        good_for="words; the fastest",
        files=WITH_WORDS,
    ),
    Preset(
        *("google/siglip2-base-patch16-224", "embedding", APACHE, 1500, 224, 0),
        good_for="words in many languages; start here",
        files=WITH_WORDS,
        revision="75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
        sha256="612923381c76ec5a9bed335d1c48827e3f2e506ac31b044b63b2031fadee6a0b",
    ),
    Preset(
        *("usyd-community/vitpose-base-simple", "pose", APACHE, 344, 256, 17),
        good_for="the pose of one person",
        files=TRANSFORMERS,
        revision="a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45",
        sha256="85375373893ddd3641f3912821073e53f5435f9e966e1dca59d004454bfe4fdf",
    ),
    Preset(
        *("ustc-community/dfine-nano-coco", "boxes", APACHE, 15, 640, 80),
        good_for="which things are where; the fastest",
        files=TRANSFORMERS,
        revision="066438d3d8f0da137a37b38fdf3368fd4afceced",
        sha256="19e06bdc873da819920a8d373b879721a5b9759d822f8213220bb09abbdab58b",
    ),
    Preset(
        *("PekingU/rtdetr_v2_r18vd", "boxes", APACHE, 81, 640, 80),
        good_for="which things are where; start here",
        files=TRANSFORMERS,
        revision="5650961749fa93567c0d46fc7f43ea4f9e914107",
        sha256="d18309d0d7ea57048138885c4c6ecfcb1e24506fc6153b94ad484f8ab62c7115",
    ),
)
PRESETS = {preset.repo: preset for preset in _PRESETS}
