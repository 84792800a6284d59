"""The shipped subgraph: depth guidance from a reference picture, as one node."""

from host.workflow_parts import COLUMN, Node, guider

BLUEPRINT = "Guide with depth from a reference picture"


def blueprint() -> dict:
    """For the front end: the nodes, their links, and the (node, widget) pairs that are shown.

    The nodes around the subgraph give it its sockets by their links, and are removed afterwards.
    """
    around = {
        "model": Node("PPAP_LoadPixelModel", (-COLUMN, 60), (330, 100)),
        "picture": Node("LoadImage", (-COLUMN, 260), (330, 300)),
        "sampler": Node("KSampler", (3 * COLUMN, 60), (330, 270)),
    }
    apply = Node("PPAP_ApplyGuidance", (2 * COLUMN, 60), (330, 300))
    target = Node("PPAP_TargetMap", (COLUMN, 60), (330, 240), {"source": "reference picture"})
    inside = guider("demo-scenes-depth", 60)
    links = [
        (("model", "model"), ("apply", "model")),
        (("picture", "IMAGE"), ("target", "image")),
        (("experts", "guider"), ("target", "guider")),
        (("experts", "guider"), ("apply", "guider")),
        (("target", "target"), ("apply", "target")),
        (("apply", "model"), ("sampler", "model")),
    ]
    return {
        "name": BLUEPRINT,
        "description": "A MODEL that draws pictures with the depth of the reference picture.",
        "category": "PPAP",
        "inside": inside.nodes | {"target": target, "apply": apply},
        "around": around,
        "links": [*inside.links, *links],
        "shown": [
            ("guider", "guider"),
            ("experts", "experts"),
            ("apply", "strength"),
            ("apply", "end_percent"),
        ],
    }
