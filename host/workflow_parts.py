"""The parts that the graphs of the shipped workflows are put together from.

The columns of a graph, from the left: notes and masks; loaders and targets; samplers; pictures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

NOTES = Path(__file__).parent / "workflow_notes"
SAMPLING = {"steps": 25, "cfg": 1.0, "sampler_name": "ddim", "scheduler": "ddim_uniform"}
COLUMN, ROW = 460, 640

Link = tuple[tuple[str, str], tuple[str, str]]  # (node, output), (node, input)


class Node(NamedTuple):
    """`widgets`: the values that differ from the defaults; the name "" is the first widget."""

    type: str
    position: tuple[int, int]
    size: tuple[int, int]
    widgets: dict = {}


class Graph(NamedTuple):
    """Nodes by a name of their own, and the links between them."""

    nodes: dict[str, Node]
    links: Sequence[Link] = ()


# A sampler's inputs come from these outputs.
PIXEL_MODEL = {"model": ("model", "model"), "prompt": ("model", "unconditional")}
LATENT_MODEL = {"model": ("model", "MODEL"), "prompt": ("prompt", "CONDITIONING")}


def join(*parts: Graph, links: Sequence[Link] = ()) -> Graph:
    """One graph of all parts, and `links` between them."""
    nodes, found = {}, []
    for part in parts:
        nodes |= part.nodes
        found += part.links
    return Graph(nodes, [*found, *links])


def replace_link(graph: Graph, old: Link, new: Link) -> Graph:
    """`new` comes last."""
    links = list(graph.links)
    links.remove(old)
    return Graph(graph.nodes, [*links, new])


def note(name: str) -> Graph:
    """The text of workflow_notes/<name>.md."""
    text = (NOTES / f"{name}.md").read_text("utf-8").strip()
    return Graph({"note": Node("MarkdownNote", (-520, 60), (440, 380), {"": text})})


def guider(name: str, y: int, experts: str = "", prefix: str = "", x: int = 0) -> Graph:
    """Loaders of a guider and of its experts, whose file has the guider's name by default."""
    widgets = {"experts": experts or f"{name}.safetensors"}
    nodes = {
        f"{prefix}guider": Node("PPAP_LoadGuider", (x, y), (330, 90), {"guider": name}),
        f"{prefix}experts": Node("PPAP_LoadExperts", (x, y + 150), (330, 150), widgets),
    }
    return Graph(nodes, [((f"{prefix}guider", "guider"), (f"{prefix}experts", "guider"))])


def start(batch_size: int) -> Graph:
    """The pixel model, an empty picture, and the VAE that leaves pixels as they are."""
    size = {"width": 32, "height": 32, "batch_size": batch_size}
    return Graph(
        {
            "model": Node("PPAP_LoadPixelModel", (0, 60), (330, 100)),
            "latent": Node("EmptyLatentImage", (0, 220), (330, 110), size),
            "vae": Node("VAELoader", (2 * COLUMN, 60), (270, 60), {"vae_name": "pixel_space"}),
        }
    )


def start_latent(batch_size: int) -> Graph:
    """A diffusion model of latents with its VAE; an empty prompt that needs no text encoder."""
    file = "demo-scenes-flux.safetensors"
    size = {"width": 64, "height": 64, "batch_size": batch_size}
    return Graph(
        {
            "model": Node("UNETLoader", (0, 60), (330, 90), {"unet_name": file}),
            "latent": Node("EmptySD3LatentImage", (0, 210), (330, 110), size),
            "any prompt": Node("LotusConditioning", (-520, 460), (210, 30)),
            "prompt": Node("ConditioningZeroOut", (-280, 460), (210, 30)),
            "vae": Node("VAELoader", (2 * COLUMN, 60), (270, 60), {"vae_name": file}),
        },
        [(("any prompt", "conditioning"), ("prompt", "conditioning"))],
    )


def sampler(
    name: str, row: int, widgets: dict, guided: bool = True, fed: dict = PIXEL_MODEL
) -> Graph:
    """A sampler, linked to model, conditioning and latent."""
    kind, height = ("PPAP_GuidedKSampler", 480) if guided else ("KSampler", 270)
    node = Node(kind, (COLUMN, 60 + row * ROW), (330, height), SAMPLING | widgets)
    links = [(fed["prompt"], (name, side)) for side in ("positive", "negative")]
    links += [(fed["model"], (name, "model")), (("latent", "LATENT"), (name, "latent_image"))]
    return Graph({name: node}, links)


def enlarge(position: tuple[int, int], width: int, scale: float, method: str = "bicubic") -> Node:
    widgets = {"upscale_method": method, "scale_by": scale}
    return Node("ImageScaleBy", position, (width, 90), widgets)


def show(name: str, row: int, saved: bool = False, scale: float = 8.0) -> Graph:
    """Decode the latents of the sampler `name`, enlarge the pictures, save or preview them."""
    x, y = 2 * COLUMN, 180 + row * ROW
    kind = "SaveImage" if saved else "PreviewImage"
    widgets = {"filename_prefix": "ppap/guided"} if saved else {}
    return Graph(
        {
            f"{name} decode": Node("VAEDecode", (x, y), (270, 50)),
            f"{name} enlarge": enlarge((x, y + 110), 270, scale),
            f"{name} show": Node(kind, (x + 330, 60 + row * ROW), (480, 500), widgets),
        },
        [
            ((name, "LATENT"), (f"{name} decode", "samples")),
            (("vae", "VAE"), (f"{name} decode", "vae")),
            ((f"{name} decode", "IMAGE"), (f"{name} enlarge", "image")),
            ((f"{name} enlarge", "IMAGE"), (f"{name} show", "images")),
        ],
    )


def class_target(classes: str, position: tuple[int, int] = (0, 740)) -> Node:
    return Node("PPAP_TargetClass", position, (330, 130), {"classes": classes})


def shown_target(y: int) -> Graph:
    """The preview of the node "target", enlarged."""
    return Graph(
        {
            "bigger": enlarge((0, y), 330, 8.0, "nearest-exact"),
            "target show": Node("PreviewImage", (0, y + 150), (330, 300)),
        },
        [
            (("target", "preview"), ("bigger", "image")),
            (("bigger", "IMAGE"), ("target show", "images")),
        ],
    )


def depth_of_reference(seed: int) -> Graph:
    """An unguided picture, a target of its depth, and the target's preview."""
    widgets = {"source": "reference picture"}
    target = Node("PPAP_TargetMap", (0, 760), (330, 220), widgets)
    links = [
        (("experts", "guider"), ("target", "guider")),
        (("reference decode", "IMAGE"), ("target", "image")),
    ]
    return join(
        sampler("reference", 1, {"seed": seed}, guided=False),
        show("reference", 1),
        Graph({"target": target}, links),
        shown_target(1050),
    )


def guide_by(guided: str, experts: str = "experts", target: str = "target") -> list[Link]:
    """Link the guider and the target to the node `guided`."""
    return [((experts, "guider"), (guided, "guider")), ((target, "target"), (guided, "target"))]
