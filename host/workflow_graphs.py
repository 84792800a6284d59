"""The graphs of the shipped workflows; `python -m host.workflows` draws them in the front end.

A workflow's number is its place in the list of templates. Those on one's own checkpoint come first
(own_graphs.py); these run with the models that are in demo/models.
"""

from collections.abc import Sequence

from host import own_graphs
from host import workflow_parts as parts
from host.workflow_parts import Box, Graph, Link, Node, Sources, join

SAMPLING = {"steps": 25, "cfg": 1.0, "sampler_name": "ddim", "scheduler": "ddim_uniform"}
PLAIN = {"seed": 8}
LATENT = PLAIN | {"sampler_name": "euler", "scheduler": "simple"}
LATENT_EXPERTS = "demo-shapes-flux-x0.safetensors"
TO_TARGET: Link = (("guider", "guider"), ("target", "guider"))
TO_GUIDED = parts.guide_by("guided")
UNCONDITIONAL, EMPTY = ("model", "unconditional"), ("prompt", "CONDITIONING")
PIXELS = Sources(("model", "model"), UNCONDITIONAL, UNCONDITIONAL, vae=("vae", "VAE"))
LATENTS = Sources(("model", "MODEL"), EMPTY, EMPTY, vae=("vae", "VAE"))
MODEL, GUIDER, TARGET, REFERENCE = "Model", "Guider", "Target", "Reference"


def start(batch_size: int) -> Graph:
    """The pixel model, an empty picture, and the VAE that leaves pixels as they are."""
    size = {"width": 32, "height": 32, "batch_size": batch_size}
    nodes = {
        "model": Node("PPAP_LoadPixelModel"),
        "latent": Node("EmptyLatentImage", size),
        "vae": Node("VAELoader", {"vae_name": "pixel_space"}),
    }
    return Graph(inputs=[Box(MODEL, nodes)])


def start_latent(batch_size: int) -> Graph:
    """A diffusion model of latents with its VAE; an empty prompt that needs no text encoder."""
    file = "demo-scenes-flux.safetensors"
    size = {"width": 64, "height": 64, "batch_size": batch_size}
    nodes = {
        "model": Node("UNETLoader", {"unet_name": file}),
        "vae": Node("VAELoader", {"vae_name": file}),
        "latent": Node("EmptySD3LatentImage", size),
        "any prompt": Node("LotusConditioning", title="No prompt", collapsed=True),
        "prompt": Node("ConditioningZeroOut", title="Zeros", collapsed=True),
    }
    to_prompt = (("any prompt", "conditioning"), ("prompt", "conditioning"))
    return Graph(inputs=[Box(MODEL, nodes)], links=[to_prompt])


def guider(name: str, experts: str = "", prefix: str = "") -> Graph:
    """Loaders of a guider and of its experts, whose file has the guider's name by default."""
    widgets = {"experts": experts or f"{name}.safetensors"}
    nodes = {
        f"{prefix}guider": Node("PPAP_LoadGuider", {"guider": name}),
        f"{prefix}experts": Node("PPAP_LoadExperts", widgets),
    }
    link = ((f"{prefix}guider", "guider"), (f"{prefix}experts", "guider"))
    return Graph(inputs=[Box(GUIDER, nodes)], links=[link])


def target(node: Node, name: str = "target") -> Graph:
    return Graph(inputs=[Box(TARGET, {name: node})])


def guided(widgets: dict, sources: Sources = PIXELS, scale: float = 8.0) -> Graph:
    return parts.sampled("guided", SAMPLING | widgets, sources, guided=True, scale=scale)


def plain(widgets: dict = PLAIN, sources: Sources = PIXELS, scale: float = 8.0) -> Graph:
    return parts.sampled("plain", SAMPLING | widgets, sources, guided=False, scale=scale)


def in_pixels(
    name: str,
    guider_name: str,
    *more: Graph,
    widgets: dict = PLAIN,
    batch_size: int = 4,
    links: Sequence[Link] = TO_GUIDED,
) -> Graph:
    """The workflow `name`: the pixel model, a guider, a guided sampler and its pictures."""
    return join(
        parts.note(name),
        start(batch_size),
        guider(guider_name),
        guided(widgets),
        *more,
        links=links,
    )


def asked_class(classes: str) -> Graph:
    asked = target(parts.class_target(classes))
    return asked._replace(app=([("target", "classes")], []))


def class_guidance(name: str) -> Graph:
    links = [TO_TARGET, *TO_GUIDED]
    return in_pixels(name, "demo-shapes-resnet", asked_class("torus"), plain(), links=links)


def map_of_reference(seed: int) -> Graph:
    """An unguided picture, shown, and a target of what the guider sees in it."""
    drawn = parts.sampler("reference", SAMPLING | {"seed": seed}, PIXELS, guided=False)
    node = drawn.nodes["reference"]._replace(title=REFERENCE)
    decode = Node("VAEDecode", title="Decode", collapsed=True)
    enlarge, link = parts.enlarged("reference enlarge", ("reference decode", "IMAGE"), 8.0)
    show = {"reference show": Node("PreviewImage", {}, parts.PICTURE, REFERENCE)}
    return join(
        Graph(
            inputs=[Box(REFERENCE, {"reference": node, "reference decode": decode})],
            outputs=[Box(REFERENCE, enlarge | show)],
            links=[
                *drawn.links,
                *link,
                (("reference", "LATENT"), ("reference decode", "samples")),
                (("vae", "VAE"), ("reference decode", "vae")),
                (("reference enlarge", "IMAGE"), ("reference show", "images")),
            ],
            app=([("reference", "seed")], ["reference show"]),
        ),
        target(Node("PPAP_TargetMap", {"source": "reference picture"})),
        links=[TO_TARGET, (("reference decode", "IMAGE"), ("target", "image"))],
    )


def depth_from_reference(name: str) -> Graph:
    return in_pixels(name, "demo-scenes-depth", map_of_reference(seed=11))


def solid_mask(title: str, value: int, width: int, height: int) -> Node:
    size = {"value": value, "width": width, "height": height}
    return Node("SolidMask", size, title=title, collapsed=True)


def placed_mask(x: int, y: int) -> Node:
    """Adds a mask to another, with its corner at (x, y)."""
    return Node("MaskComposite", {"x": x, "y": y, "operation": "add"})


def segmentation_from_masks(name: str) -> Graph:
    masks = {
        "nothing": solid_mask("Nothing", value=0, width=32, height=32),
        "floor": solid_mask("Floor", value=1, width=32, height=14),
        "box": solid_mask("Box", value=1, width=18, height=10),
        "floor mask": placed_mask(0, 18),
        "box mask": placed_mask(7, 12),
    }
    floor = Node("PPAP_TargetMasks", {"class_name": "floor", "elsewhere": "wall"})
    links: list[Link] = [
        (("nothing", "MASK"), ("floor mask", "destination")),
        (("floor", "MASK"), ("floor mask", "source")),
        (("nothing", "MASK"), ("box mask", "destination")),
        (("box", "MASK"), ("box mask", "source")),
        (("floor mask", "MASK"), ("floor target", "mask")),
        (("box mask", "MASK"), ("target", "mask")),
        (("floor target", "target"), ("target", "target")),
        (("guider", "guider"), ("floor target", "guider")),
        TO_TARGET,
    ]
    return in_pixels(
        name,
        "demo-scenes-segmentation",
        target(floor, "floor target"),
        target(Node("PPAP_TargetMasks", {"class_name": "object"})),
        Graph(inputs=[Box("Masks", masks)], app=([("box mask", "x"), ("box mask", "y")], [])),
        plain(),
        links=[*links, *TO_GUIDED],
    )


def class_and_depth(name: str) -> Graph:
    """Two guiders: Apply Guidance for the depth, the guided sampler for the class.

    The class has another shape than the reference, so its guider insists and depth is a hint.
    """
    apply = Node("PPAP_ApplyGuidance", {"strength": 0.05})
    graph = in_pixels(
        name,
        "demo-scenes-depth",
        guider("demo-shapes-resnet", prefix="class "),
        target(parts.class_target("cone"), "class target"),
        Graph(inputs=[Box("Depth as a hint", {"apply": apply})]),
        map_of_reference(seed=11),
        widgets=PLAIN | {"strength": 2.0},
        links=[
            *parts.guide_by("apply"),
            *parts.guide_by("guided", "class experts", "class target"),
            (("class guider", "guider"), ("class target", "guider")),
            (("model", "model"), ("apply", "model")),
        ],
    )
    unguided = (("model", "model"), ("guided", "model"))
    return parts.replace_link(graph, unguided, (("apply", "model"), ("guided", "model")))


def restyle_with_depth(name: str) -> Graph:
    """img2img of the reference picture at denoise 0.6, which keeps its depth."""
    copies = Node("RepeatLatentBatch", {"amount": 4})
    changed = PLAIN | {"denoise": 0.6}
    graph = in_pixels(
        name,
        "demo-scenes-depth",
        map_of_reference(seed=21),
        Graph(inputs=[Box(REFERENCE, {"copies": copies})]),
        plain(changed),
        widgets=changed,
        batch_size=1,
        links=[*TO_GUIDED, (("reference", "LATENT"), ("copies", "samples"))],
    )
    for sampled in ("guided", "plain"):
        socket = (sampled, "latent_image")
        old, new = (("latent", "LATENT"), socket), (("copies", "LATENT"), socket)
        graph = parts.replace_link(graph, old, new)
    return graph


def class_guidance_in_latents(name: str) -> Graph:
    return join(
        parts.note(name),
        start_latent(batch_size=4),
        guider("demo-shapes-resnet", experts=LATENT_EXPERTS),
        asked_class("cone"),
        guided(LATENT, LATENTS, scale=4.0),
        plain(LATENT, LATENTS, scale=4.0),
        links=[TO_TARGET, (("vae", "VAE"), ("guided", "vae")), *TO_GUIDED],
    )


def strength_and_report(name: str) -> Graph:
    """With a report of what guidance did, and the same noise under several strengths."""
    report = {
        "report": Node("PPAP_GuidanceReport"),
        "curves": Node("PreviewImage", {}, parts.PICTURE, "Curves"),
        "steps": Node("PreviewImage", {}, parts.PICTURE, "Steps"),
    }
    sweep = {
        "sweep": Node("PPAP_ScaleSweep", SAMPLING | PLAIN, parts.WIDE),
        "grid": Node("PreviewImage", {}, parts.PICTURE, "Strengths"),
    }
    links: list[Link] = [
        TO_TARGET,
        *TO_GUIDED,
        (("guided", "guided_model"), ("report", "model")),
        (("guided", "LATENT"), ("report", "latent")),
        (("report", "curves"), ("curves", "images")),
        (("report", "steps"), ("steps", "images")),
        (("model", "model"), ("sweep", "model")),
        (("model", "unconditional"), ("sweep", "positive")),
        (("model", "unconditional"), ("sweep", "negative")),
        (("latent", "LATENT"), ("sweep", "latent_image")),
        (("vae", "VAE"), ("sweep", "vae")),
        *parts.guide_by("sweep"),
        (("sweep", "grid"), ("grid", "images")),
    ]
    shown = Graph(
        outputs=[Box("Which strength", sweep)],
        after=[Box("Report", report)],
        app=([("sweep", "strengths")], ["curves", "grid"]),
    )
    return in_pixels(name, "demo-shapes-resnet", asked_class("cone"), shown, links=links)


def surfaces_and_score(name: str) -> Graph:
    """Two guiders that do not fight: normals of a reference, and a score, the brightness."""
    loader, apply = (
        Node("PPAP_LoadGuider", {"guider": "demo-scenes-words"}),
        Node("PPAP_ApplyGuidance"),
    )
    wished = Node("PPAP_TargetScore", {"wished": "6"})
    graph = in_pixels(
        name,
        "demo-scenes-normals",
        map_of_reference(seed=11),
        Graph(
            inputs=[
                Box("Score", {"words": loader, "head": Node("PPAP_AddScoreHead"), "wished": wished})
            ]
        ),
        Graph(inputs=[Box("Surfaces", {"apply": apply})], app=([("wished", "wished")], [])),
        links=[
            *parts.guide_by("apply"),
            *parts.guide_by("guided", "head", "wished"),
            (("words", "guider"), ("head", "guider")),
            (("head", "guider"), ("wished", "guider")),
            (("model", "model"), ("apply", "model")),
        ],
    )
    unguided = (("model", "model"), ("guided", "model"))
    return parts.replace_link(graph, unguided, (("apply", "model"), ("guided", "model")))


DEMO_GRAPHS = {
    "13 Demo class guidance": class_guidance,
    "14 Demo depth from a reference": depth_from_reference,
    "15 Demo segmentation from masks": segmentation_from_masks,
    "16 Demo class and depth": class_and_depth,
    "17 Demo restyle with depth": restyle_with_depth,
    "18 Demo class guidance in latents": class_guidance_in_latents,
    "19 Demo strength and report": strength_and_report,
    "20 Demo surfaces and score": surfaces_and_score,
}
GRAPHS = {name: build(name) for name, build in (own_graphs.OWN_GRAPHS | DEMO_GRAPHS).items()}
