"""The workflows on one's own checkpoint: what they load is downloaded, by the user or by a node.

They name SD1.5, since everybody can run it; any other checkpoint takes its place.
"""

from collections.abc import Sequence

from host import workflow_parts as parts
from host.workflow_parts import Box, Graph, Link, Node, join
from ppap_core.guiders import PRESETS, Preset
from ppap_core.guiders.edge_filter import NAME as EDGE_FILTER

CHECKPOINT = {
    "name": "v1-5-pruned-emaonly-fp16.safetensors",
    "url": "https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/"
    "v1-5-pruned-emaonly-fp16.safetensors",
    "hash": "e9476a13728cd75d8279f6ec8bad753a66a1957ca375a1464dc63b37db6e3916",
    "hash_type": "SHA256",
    "directory": "checkpoints",
}
CLASSES = "timm/convnext_tiny.in12k_ft_in1k"
DEPTH = "depth-anything/Depth-Anything-V2-Small-hf"
SEGMENTATION = "openmmlab/upernet-convnext-tiny"
DETECTOR = "PekingU/rtdetr_v2_r18vd"
PLACES = "dog: 0.05 0.35 0.45 0.95\ncat: 0.55 0.45 0.95 0.95"
POSE = "usyd-community/vitpose-base-simple"
UNWANTED = "Falconsai/nsfw_image_detection"
WORDS, ASKED = "google/siglip2-base-patch16-224", "a dog with a red scarf"
SAMPLING = {"steps": 25, "cfg": 6.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "seed": 4}
SIDE = 512
ADE20K = {"sky": 0x06E6E6, "grass": 0x04FA07, "house": 0xFF09E0}  # its colours
MODEL, GUIDER, TARGET = "Your checkpoint and prompt", "Guider", "Target"
BEST = "The best of several"
SOURCES = parts.Sources(
    model=("checkpoint", "MODEL"),
    positive=("prompt", "CONDITIONING"),
    negative=("negative", "CONDITIONING"),
    vae=("checkpoint", "VAE"),
)


def checkpoint(prompt: str) -> Graph:
    negative = "blurry, distorted, low quality"
    size = {"width": SIDE, "height": SIDE, "batch_size": 1}
    loader = {"ckpt_name": CHECKPOINT["name"]}
    nodes = {
        "checkpoint": Node("CheckpointLoaderSimple", loader, models=[CHECKPOINT]),
        "latent": Node("EmptyLatentImage", size),
        "prompt": Node("CLIPTextEncode", {"text": prompt}, (280, 130), "Prompt"),
        "negative": Node("CLIPTextEncode", {"text": negative}, (280, 100), "Negative prompt"),
    }
    links = [(("checkpoint", "CLIP"), (name, "clip")) for name in ("prompt", "negative")]
    shown = [("checkpoint", "ckpt_name"), ("prompt", "text")]
    return Graph(inputs=[Box(MODEL, nodes)], links=links, app=(shown, []))


def guider(name: str, target: Node, app: Sequence[tuple[str, str]] = ()) -> Graph:
    """The loader of a guider, and its target; what has to be downloaded for it is named."""
    models = [weights(PRESETS[name])] if name in PRESETS else []
    loader = Node("PPAP_LoadGuider", {"guider": name}, models=models)
    allow = [("guider", "allow_download")] if models else []
    return Graph(
        inputs=[Box(GUIDER, {"guider": loader}), Box(TARGET, {"target": target})],
        links=[(("guider", "guider"), ("target", "guider"))],
        app=([*allow, *app], []),
    )


def weights(preset: Preset) -> dict:
    """Where the file comes from, as ComfyUI's templates say it."""
    return {
        "name": "model.safetensors",
        "url": f"https://huggingface.co/{preset.repo}/resolve/{preset.revision}/model.safetensors",
        "hash": preset.sha256,
        "hash_type": "SHA256",
        "directory": f"ppap_guiders/{preset.repo}",
    }


def own_checkpoint(name: str, prompt: str, *guider_target_and_more: Graph) -> Graph:
    links = parts.guide_by("guided", "guider")
    return beside_unguided(name, prompt, *guider_target_and_more, links=links)


def beside_unguided(name: str, prompt: str, *more: Graph, links: Sequence[Link]) -> Graph:
    """`links`: to the guided sampler. Its pictures stand above those without guidance."""
    return join(
        parts.note(name),
        checkpoint(prompt),
        *more,
        parts.sampled("guided", SAMPLING, SOURCES, guided=True),
        parts.sampled("plain", SAMPLING, SOURCES, guided=False),
        links=[(SOURCES.vae, ("guided", "vae")), *links],
    )


def a_class(name: str) -> Graph:
    asked = guider(CLASSES, parts.class_target("golden retriever"), [("target", "classes")])
    return own_checkpoint(name, "a photograph of a dog in a meadow, morning light", asked)


def photograph(what: str = "Photograph") -> Graph:
    """A picture of the user's, of which "target" asks."""
    node = Node("LoadImage", {"image": "example.png"}, (270, 314), f"Your {what.lower()}")
    return Graph(
        inputs=[Box(what, {"photograph": node})],
        links=[(("photograph", "IMAGE"), ("target", "image"))],
        app=([("photograph", "image")], []),
    )


def depth(name: str) -> Graph:
    return of_photograph(name, DEPTH)


def of_photograph(name: str, guider_name: str) -> Graph:
    """What the guider sees in a photograph."""
    asked = Node("PPAP_TargetMap", {"source": "reference picture", "fit": "crop"} | square())
    prompt = "a marble sculpture in a museum, soft light"
    return own_checkpoint(name, prompt, guider(guider_name, asked), photograph())


def words(name: str) -> Graph:
    asked = guider(WORDS, Node("PPAP_TargetWords", {"text": ASKED}), [("target", "text")])
    return own_checkpoint(name, "a photograph of a dog in a meadow, morning light", asked)


def lines(name: str) -> Graph:
    """Edges of a photograph, by a filter that is built in."""
    return of_photograph(name, EDGE_FILTER)


def pose(name: str) -> Graph:
    """The pose of the person in a photograph."""
    asked = Node("PPAP_TargetPose", {"fit": "crop"} | square())
    prompt = "a knight in shining armour, full body, photograph"
    return own_checkpoint(name, prompt, guider(POSE, asked), photograph())


def style(name: str) -> Graph:
    """The look of a picture of the user's; the target node gives the guider that reads styles."""
    return beside_unguided(
        name,
        "a lighthouse on a cliff",
        guider(WORDS, Node("PPAP_TargetStyle")),
        photograph("Reference"),
        links=parts.guide_by("guided", "target"),
    )


def places(name: str) -> Graph:
    """A dog on the left, a cat on the right."""
    asked = Node("PPAP_TargetBoxes", {"boxes": PLACES})
    boxes = guider(DETECTOR, asked, [("target", "boxes")])
    return own_checkpoint(name, "a photograph of a dog and a cat on a sofa", boxes)


def likeness(name: str) -> Graph:
    """Colours and layout of a photograph; the target stands in the place of a guider as well."""
    asked = {"kind": "low resolution", "cells": 16, "fit": "crop"} | square()
    target = Graph(inputs=[Box(TARGET, {"target": Node("PPAP_TargetLikeness", asked)})])
    return beside_unguided(
        name,
        "an oil painting, thick brush strokes",
        join(target._replace(app=([("target", "kind")], [])), photograph()),
        links=parts.guide_by("guided", "target"),
    )


def best_of_several(name: str) -> Graph:
    """Four pictures in flight for each that comes out, under the host's own sampler.

    It remembers no earlier steps, of which nothing is left after a selection.
    """
    best = {"best": Node("PPAP_BestOfSeveral")}
    asked = Node("PPAP_TargetCount", {"class_name": "dog", "number": 3})
    sampling = SAMPLING | {"sampler_name": "euler"}
    graph = join(
        parts.note(name),
        checkpoint("a photograph of three dogs in a meadow, morning light"),
        guider(DETECTOR, asked, [("target", "class_name"), ("target", "number")]),
        Graph(inputs=[Box("Several in flight", best)], app=([("best", "particles")], [])),
        parts.sampler("chosen", sampling, SOURCES, guided=False, title=BEST, grows=80),
        parts.decoded("chosen", BEST, SOURCES.vae, saved=True),
        parts.sampled("plain", sampling, SOURCES, guided=False),
        links=[
            (SOURCES.model, ("best", "model")),
            (SOURCES.vae, ("best", "vae")),
            *parts.guide_by("best", "guider"),
        ],
    )
    return parts.replace_link(
        graph, (SOURCES.model, ("chosen", "model")), (("best", "model"), ("chosen", "model"))
    )


def square() -> dict:
    return {"width": SIDE, "height": SIDE}


def segmentation(name: str) -> Graph:
    """A map of three colours, in which ADE20K's classes are sky, grass and house."""
    shapes = {"sky": (SIDE, SIDE), "grass": (SIDE, 200), "house": (200, 200)}
    corners = {"grass": (0, SIDE - 200), "house": (156, 170)}
    painted = {
        shape: Node("EmptyImage", {"width": w, "height": h, "color": ADE20K[shape]}, title=shape)
        for shape, (w, h) in shapes.items()
    }
    for shape, (x, y) in corners.items():
        title = f"{shape} onto the map"
        painted[title] = Node("ImageCompositeMasked", {"x": x, "y": y}, title=title)
    links: list[Link] = [
        (("sky", "IMAGE"), ("grass onto the map", "destination")),
        (("grass", "IMAGE"), ("grass onto the map", "source")),
        (("grass onto the map", "IMAGE"), ("house onto the map", "destination")),
        (("house", "IMAGE"), ("house onto the map", "source")),
        (("house onto the map", "IMAGE"), ("target", "image")),
    ]
    asked = Node("PPAP_TargetMap", {"source": "segmentation map", "palette": "ADE20K"} | square())
    return own_checkpoint(
        name,
        "a house on a hill, watercolour",
        guider(SEGMENTATION, asked),
        Graph(inputs=[Box("A painted map", painted)], links=links),
    )


def train(name: str) -> Graph:
    """Experts for the checkpoint, and the picture that they guide."""
    prompt = Node("CLIPTextEncode", {"text": ""}, (280, 100), "Prompt of training pictures")
    anything, training = {"anything": prompt}, {"trained": Node("PPAP_TrainExperts")}
    graph = own_checkpoint(
        name,
        "a photograph of a dog in a meadow, morning light",
        guider(CLASSES, parts.class_target("golden retriever"), [("target", "classes")]),
        Graph(inputs=[Box(MODEL, anything), Box("Training", training)]),
    )
    links = [
        (("checkpoint", "CLIP"), ("anything", "clip")),
        (("checkpoint", "MODEL"), ("trained", "model")),
        (("checkpoint", "VAE"), ("trained", "vae")),
        (("anything", "CONDITIONING"), ("trained", "conditioning")),
        (("guider", "guider"), ("trained", "guider")),
    ]
    graph = graph._replace(links=[*graph.links, *links])
    untrained = (("guider", "guider"), ("guided", "guider"))
    graph = parts.replace_link(graph, untrained, (("trained", "guider"), ("guided", "guider")))
    shown = [("trained", "name"), ("trained", "num_images")]
    return graph._replace(app=([*graph.app[0], *shown], graph.app[1]))


def unwanted(name: str) -> Graph:
    asked = guider(UNWANTED, parts.class_target("nsfw:-1"), [("target", "classes")])
    return own_checkpoint(name, "people at the beach, photograph", asked)


OWN_GRAPHS = {
    "01 Your own checkpoint": a_class,
    "02 Depth from a photograph": depth,
    "03 Segmentation from a painted map": segmentation,
    "04 Train experts for your checkpoint": train,
    "05 Away from unwanted things": unwanted,
    "06 In your own words": words,
    "07 Lines of a drawing": lines,
    "08 Colours and layout of a photograph": likeness,
    "09 Best of several": best_of_several,
    "10 Pose of a person": pose,
    "11 Style of a picture": style,
    "12 Things in their places": places,
}
