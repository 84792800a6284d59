"""The parts that the graphs of the shipped workflows are put together from."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

NOTES = Path(__file__).parent / "workflow_notes"
NARROW, WIDE, PICTURE = (270, 0), (300, 0), (280, 280)
WITH, WITHOUT = "With guidance", "Without guidance"

Output = tuple[str, str]  # (node, its output)
Link = tuple[Output, tuple[str, str]]  # to (node, its input)


class Node(NamedTuple):
    """`widgets`: the values that differ from the defaults; the name "" is the first widget.

    `size`: the front end enlarges it to what its widgets need. `models`: where the files come from
    that the node loads, as ComfyUI's templates say it. `grows`: as workflow_layout.GROWS says of
    types, of this node alone.
    """

    type: str
    widgets: dict = {}
    size: tuple[int, int] = NARROW
    title: str = ""
    collapsed: bool = False
    models: Sequence[dict] = ()
    grows: int = 0


class Box(NamedTuple):
    """Nodes by a name of their own, with a frame and its title; no frame without a title."""

    title: str
    nodes: dict[str, Node]


class Graph(NamedTuple):
    """From the left: `inputs`, what a picture is made from; `outputs`, samplers and their pictures;
    `after`, what is told of them.

    `app`: the (node, widget) pairs, then the nodes, that ComfyUI's App Mode shows.
    """

    inputs: Sequence[Box] = ()
    outputs: Sequence[Box] = ()
    after: Sequence[Box] = ()
    links: Sequence[Link] = ()
    app: tuple[Sequence[tuple[str, str]], Sequence[str]] = ((), ())

    @property
    def bands(self) -> tuple[Sequence[Box], ...]:
        return self.inputs, self.outputs, self.after

    @property
    def nodes(self) -> dict[str, Node]:
        return {name: n for band in self.bands for box in band for name, n in box.nodes.items()}


def join(*parts: Graph, links: Sequence[Link] = ()) -> Graph:
    """One graph of all parts, and `links` between them; boxes of one title become one."""
    return Graph(
        inputs=_merge(box for part in parts for box in part.inputs),
        outputs=_merge(box for part in parts for box in part.outputs),
        after=_merge(box for part in parts for box in part.after),
        links=[*(link for part in parts for link in part.links), *links],
        app=(
            [shown for part in parts for shown in part.app[0]],
            [shown for part in parts for shown in part.app[1]],
        ),
    )


def _merge(boxes: Iterable[Box]) -> list[Box]:
    nodes: dict[str, dict[str, Node]] = {}
    for box in boxes:
        nodes.setdefault(box.title, {}).update(box.nodes)
    return [Box(title, inside) for title, inside in nodes.items()]


def replace_link(graph: Graph, old: Link, new: Link) -> Graph:
    """`new` comes last."""
    links = list(graph.links)
    links.remove(old)
    return graph._replace(links=[*links, new])


def note(name: str) -> Graph:
    """The text of workflow_notes/<name>.md."""
    text = (NOTES / f"{name}.md").read_text("utf-8").strip()
    return Graph(inputs=[Box("", {"note": Node("MarkdownNote", {"": text}, (540, 220))})])


def class_target(classes: str) -> Node:
    return Node("PPAP_TargetClass", {"classes": classes})


class Sources(NamedTuple):
    """What a sampler and its pictures are made from; the latent is the node "latent"."""

    model: Output
    positive: Output
    negative: Output
    vae: Output


def sampler(
    name: str, widgets: dict, sources: Sources, guided: bool, title: str = "", grows: int = 0
) -> Graph:
    """A sampler, linked to model, conditioning and latent; its box has no pictures yet."""
    title = title or (WITH if guided else WITHOUT)
    kind = "PPAP_GuidedKSampler" if guided else "KSampler"
    node = Node(kind, widgets, WIDE, "" if guided else title, grows=grows)
    links: list[Link] = [
        (sources.model, (name, "model")),
        (sources.positive, (name, "positive")),
        (sources.negative, (name, "negative")),
        (("latent", "LATENT"), (name, "latent_image")),
    ]
    shown = [(name, "strength"), (name, "seed")] if guided else []
    return Graph(outputs=[Box(title, {name: node})], links=links, app=(shown, []))


def sampled(name: str, widgets: dict, sources: Sources, guided: bool, scale: float = 0.0) -> Graph:
    """A sampler and its pictures: saved if they are guided, else previewed."""
    return join(
        sampler(name, widgets, sources, guided),
        decoded(name, WITH if guided else WITHOUT, sources.vae, guided, scale),
    )


def decoded(name: str, title: str, vae: Output, saved: bool, scale: float = 0.0) -> Graph:
    """The pictures of the sampler `name`, enlarged if `scale` is not 0, saved or previewed."""
    kind = "SaveImage" if saved else "PreviewImage"
    widgets = {"filename_prefix": "ppap/guided"} if saved else {}
    nodes = {f"{name} decode": Node("VAEDecode", title="Decode", collapsed=True)}
    links: list[Link] = [
        ((name, "LATENT"), (f"{name} decode", "samples")),
        (vae, (f"{name} decode", "vae")),
    ]
    picture = (f"{name} decode", "IMAGE")
    if scale:
        enlarge, more = enlarged(f"{name} enlarge", picture, scale)
        nodes, links, picture = nodes | enlarge, [*links, *more], (f"{name} enlarge", "IMAGE")
    shown = Node(kind, widgets, PICTURE, title)
    nodes |= {f"{name} show": shown}
    links += [(picture, (f"{name} show", "images"))]
    return Graph(outputs=[Box(title, nodes)], links=links, app=((), [f"{name} show"]))


def enlarged(name: str, picture: Output, scale: float) -> tuple[dict[str, Node], list[Link]]:
    widgets = {"upscale_method": "bicubic", "scale_by": scale}
    node = Node("ImageScaleBy", widgets, title="Enlarge", collapsed=True)
    return {name: node}, [(picture, (name, "image"))]


def guide_by(guided: str, experts: str = "experts", target: str = "target") -> list[Link]:
    """Link the guider and the target to the node `guided`."""
    return [((experts, "guider"), (guided, "guider")), ((target, "target"), (guided, "target"))]
