"""The shipped subgraphs: guidance by a class, by depth or by a map, each as one node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from host.own_graphs import CLASSES, DEPTH, SEGMENTATION
from host.workflow_parts import Box, Graph, Link, Node

NO_EXPERTS = "none"


@dataclass(frozen=True)
class Blueprint:
    """`graph`: its nodes and, in boxes named "around", those that give it its sockets by their
    links and are removed afterwards. `shown`: the (node, widget) pairs that stand on the subgraph.
    """

    name: str
    description: str
    graph: Graph
    shown: Sequence[tuple[str, str]]

    def described(self) -> dict:
        """For the front end."""
        boxes = (*self.graph.inputs, *self.graph.outputs)
        inside = [name for box in boxes if box.title != "around" for name in box.nodes]
        around = [name for name in self.graph.nodes if name not in inside]
        words = {"name": self.name, "description": self.description, "shown": self.shown}
        return words | {"inside": inside, "around": around}


def blueprint(
    name: str,
    description: str,
    guider: str,
    target: Node,
    picture: bool,
    shown: Sequence[tuple[str, str]],
) -> Blueprint:
    """MODEL and VAE in, MODEL out; `picture`: an IMAGE too, for the target."""
    around = {"model": Node("CheckpointLoaderSimple")}
    inside = {
        "guider": Node("PPAP_LoadGuider", {"guider": guider}),
        "experts": Node("PPAP_LoadExperts", {"experts": NO_EXPERTS}),
        "target": target,
        "apply": Node("PPAP_ApplyGuidance"),
    }
    links: list[Link] = [
        (("model", "MODEL"), ("apply", "model")),
        (("guider", "guider"), ("experts", "guider")),
        (("experts", "guider"), ("target", "guider")),
        (("experts", "guider"), ("apply", "guider")),
        (("target", "target"), ("apply", "target")),
        (("model", "VAE"), ("apply", "vae")),
        (("apply", "model"), ("sampler", "model")),
    ]
    if picture:
        around["picture"] = Node("LoadImage")
        links.append((("picture", "IMAGE"), ("target", "image")))
    graph = Graph(
        inputs=[Box("around", around), Box("", inside)],
        outputs=[Box("around", {"sampler": Node("KSampler")})],
        links=links,
    )
    first, last = ("guider", "guider"), ("guider", "allow_download")
    shown = [first, ("experts", "experts"), *shown, ("apply", "strength"), last]
    return Blueprint(name, description, graph, shown)


BLUEPRINTS: Mapping[str, Blueprint] = {
    made.name: made
    for made in (
        blueprint(
            "Guide with a class",
            "A MODEL that draws what a classifier recognises as the class.",
            CLASSES,
            Node("PPAP_TargetClass", {"classes": "golden retriever"}),
            picture=False,
            shown=[("target", "classes")],
        ),
        blueprint(
            "Guide with depth from a reference picture",
            "A MODEL that draws pictures with the depth of the reference picture.",
            DEPTH,
            Node("PPAP_TargetMap", {"source": "reference picture"}),
            picture=True,
            shown=[],
        ),
        blueprint(
            "Guide with a segmentation map",
            "A MODEL that draws the classes where a map, or a reference picture, has them.",
            SEGMENTATION,
            Node("PPAP_TargetMap", {"source": "segmentation map", "palette": "ADE20K"}),
            picture=True,
            shown=[("target", "source"), ("target", "palette")],
        ),
    )
}
