"""The graphs of the shipped workflows: nodes with their places and widgets, and links.

A node is (type, position, size, widget values by name), a link ((from, output), (to, input)).
"""

from pathlib import Path

NOTES = Path(__file__).parent / "workflow_notes"
SAMPLING = {"steps": 25, "cfg": 1.0, "sampler_name": "ddim", "scheduler": "ddim_uniform"}
RELATIVE = {"scale_rule": "relative"}
COLUMN, ROW = 400, 640
LATENT_GUIDANCE = {"guidance_scale": 0.2, "jacobian": "none"}  # evidence.views's best
LATENT_EXPERTS = "demo-shapes-flux-x0.safetensors"


def enlarged(scale: float, method: str = "bicubic") -> dict:
    return {"upscale_method": method, "scale_by": scale}


def note(name: str, height: int = 380) -> dict:
    text = (NOTES / f"{name}.md").read_text("utf-8").strip()
    return {"note": ("MarkdownNote", (-520, 60), (440, height), {"": text})}


def guider(task: str, name: str, y: int, prefix: str = "") -> tuple[dict, list]:
    """A guider with its experts in the left column."""
    nodes = {
        f"{prefix}guider": ("PPAP_LoadGuider", (0, y), (330, 90), {"guider": name}),
        f"{prefix}experts": (
            *("PPAP_LoadExperts", (0, y + 150), (330, 150)),
            {"experts": f"{name}.safetensors"},
        ),
    }
    return nodes, [((f"{prefix}guider", "guider"), (f"{prefix}experts", "guider"))]


def start(batch_size: int) -> dict:
    size = {"width": 32, "height": 32, "batch_size": batch_size}
    return {
        "model": ("PPAP_LoadPixelModel", (0, 60), (330, 100), {}),
        "latent": ("EmptyLatentImage", (0, 220), (330, 110), size),
        "vae": ("VAELoader", (2 * COLUMN, 60), (270, 60), {"vae_name": "pixel_space"}),
    }


def start_latent(batch_size: int) -> tuple[dict, list]:
    """A diffusion model of latents with its VAE; an empty prompt that needs no text encoder."""
    file = "demo-scenes-flux.safetensors"
    size = {"width": 64, "height": 64, "batch_size": batch_size}
    nodes = {
        "model": ("UNETLoader", (0, 60), (330, 90), {"unet_name": file}),
        "latent": ("EmptySD3LatentImage", (0, 210), (330, 110), size),
        "any prompt": ("LotusConditioning", (-520, 460), (210, 30), {}),
        "prompt": ("ConditioningZeroOut", (-280, 460), (210, 30), {}),
        "vae": ("VAELoader", (2 * COLUMN, 60), (270, 60), {"vae_name": file}),
    }
    return nodes, [(("any prompt", "conditioning"), ("prompt", "conditioning"))]


PIXEL_MODEL = {"model": ("model", "model"), "prompt": ("model", "unconditional")}
LATENT_MODEL = {"model": ("model", "MODEL"), "prompt": ("prompt", "CONDITIONING")}


def sampler(
    name: str, row: int, values: dict, guided: bool = True, fed: dict = PIXEL_MODEL
) -> tuple[dict, list]:
    """A sampler in the middle column, fed with model, conditioning and latent."""
    kind = "PPAP_GuidedKSampler" if guided else "KSampler"
    place = (COLUMN, 60 + row * ROW)
    nodes = {name: (kind, place, (330, 480 if guided else 270), SAMPLING | values)}
    links = [(fed["prompt"], (name, side)) for side in ("positive", "negative")]
    links += [(fed["model"], (name, "model")), (("latent", "LATENT"), (name, "latent_image"))]
    return nodes, links


def show(name: str, row: int, saved: bool = False, scale: float = 8.0) -> tuple[dict, list]:
    """Decode what the sampler `name` made, enlarge it, and save or preview it."""
    x, y = 2 * COLUMN, 180 + row * ROW
    kind = "SaveImage" if saved else "PreviewImage"
    values = {"filename_prefix": "ppap/guided"} if saved else {}
    nodes = {
        f"{name} decode": ("VAEDecode", (x, y), (270, 50), {}),
        f"{name} enlarge": ("ImageScaleBy", (x, y + 110), (270, 90), enlarged(scale)),
        f"{name} show": (kind, (x + 330, 60 + row * ROW), (480, 500), values),
    }
    links = [
        ((name, "LATENT"), (f"{name} decode", "samples")),
        (("vae", "VAE"), (f"{name} decode", "vae")),
        ((f"{name} decode", "IMAGE"), (f"{name} enlarge", "image")),
        ((f"{name} enlarge", "IMAGE"), (f"{name} show", "images")),
    ]
    return nodes, links


def join(*parts: tuple[dict, list] | dict, links: tuple = ()) -> tuple[dict, list]:
    nodes, found = {}, []
    for part in parts:
        more, own = (part, []) if isinstance(part, dict) else part
        nodes |= more
        found += own
    return nodes, [*found, *links]


def guide_by(sampled: str, experts: str, target: str) -> list:
    return [((experts, "guider"), (sampled, "guider")), ((target, "target"), (sampled, "target"))]


def class_guidance() -> tuple[dict, list]:
    return join(
        note("class_guidance"),
        start(batch_size=4),
        guider("class", "demo-shapes-resnet", 400),
        {"target": ("PPAP_TargetClass", (0, 740), (330, 130), {"classes": "torus"})},
        sampler("guided", 0, {"seed": 4, "guidance_scale": 0.1} | RELATIVE),
        show("guided", 0, saved=True),
        sampler("plain", 1, {"seed": 4}, guided=False),
        show("plain", 1),
        links=[
            (("experts", "guider"), ("target", "guider")),
            *guide_by("guided", "experts", "target"),
        ],
    )


def reference(seed: int) -> tuple[dict, list]:
    """An unguided picture, decoded: what a depth target is taken from."""
    nodes, links = sampler("reference", 1, {"seed": seed}, guided=False)
    more, shown = show("reference", 1)
    return nodes | more, [*links, *shown]


def map_target(y: int, image: str, values: dict) -> tuple[dict, list]:
    nodes = {
        "target": ("PPAP_TargetMap", (0, y), (330, 220), values),
        "bigger": ("ImageScaleBy", (0, y + 290), (330, 90), enlarged(8.0, "nearest-exact")),
        "target show": ("PreviewImage", (0, y + 440), (330, 300), {}),
    }
    links = [
        (("experts", "guider"), ("target", "guider")),
        ((image, "IMAGE"), ("target", "image")),
        (("target", "preview"), ("bigger", "image")),
        (("bigger", "IMAGE"), ("target show", "images")),
    ]
    return nodes, links


def depth_from_reference() -> tuple[dict, list]:
    return join(
        note("depth_from_reference"),
        start(batch_size=4),
        guider("depth", "demo-scenes-depth", 400),
        reference(seed=11),
        map_target(760, "reference decode", {"source": "reference picture"}),
        sampler("guided", 0, {"seed": 4, "guidance_scale": 0.1} | RELATIVE),
        show("guided", 0, saved=True),
        links=guide_by("guided", "experts", "target"),
    )


def segmentation_from_masks() -> tuple[dict, list]:
    masks = {
        "nothing": ("SolidMask", (-520, 460), (210, 110), {"value": 0, "width": 32, "height": 32}),
        "floor": ("SolidMask", (-520, 630), (210, 110), {"value": 1, "width": 32, "height": 14}),
        "box": ("SolidMask", (-520, 800), (210, 110), {"value": 1, "width": 18, "height": 10}),
        "floor mask": (
            *("MaskComposite", (-280, 460), (210, 150)),
            {"x": 0, "y": 18, "operation": "add"},
        ),
        "box mask": (
            *("MaskComposite", (-280, 680), (210, 150)),
            {"x": 7, "y": 12, "operation": "add"},
        ),
        "floor target": (
            *("PPAP_TargetMasks", (0, 760), (330, 150)),
            {"class_name": "floor", "elsewhere": "wall"},
        ),
        "target": ("PPAP_TargetMasks", (0, 980), (330, 150), {"class_name": "object"}),
        "bigger": ("ImageScaleBy", (0, 1200), (330, 90), enlarged(8.0, "nearest-exact")),
        "target show": ("PreviewImage", (0, 1350), (330, 300), {}),
    }
    return join(
        note("segmentation_from_masks"),
        start(batch_size=4),
        guider("segmentation", "demo-scenes-segmentation", 400),
        masks,
        sampler("guided", 0, {"seed": 4, "guidance_scale": 0.1} | RELATIVE),
        show("guided", 0, saved=True),
        sampler("plain", 1, {"seed": 4}, guided=False),
        show("plain", 1),
        links=[
            (("nothing", "MASK"), ("floor mask", "destination")),
            (("floor", "MASK"), ("floor mask", "source")),
            (("nothing", "MASK"), ("box mask", "destination")),
            (("box", "MASK"), ("box mask", "source")),
            (("floor mask", "MASK"), ("floor target", "mask")),
            (("box mask", "MASK"), ("target", "mask")),
            (("floor target", "target"), ("target", "target")),
            (("experts", "guider"), ("floor target", "guider")),
            (("experts", "guider"), ("target", "guider")),
            (("target", "preview"), ("bigger", "image")),
            (("bigger", "IMAGE"), ("target show", "images")),
            *guide_by("guided", "experts", "target"),
        ],
    )


def class_and_depth() -> tuple[dict, list]:
    """Two guiders: Apply Guidance for the depth, the guided sampler for the class."""
    class_nodes, class_links = guider("class", "demo-shapes-resnet", 60, prefix="class ")
    class_nodes = {
        name: (kind, (-COLUMN - 520, place[1] + 400), size, values)
        for name, (kind, place, size, values) in class_nodes.items()
    }
    nodes, links = join(
        note("class_and_depth"),
        start(batch_size=4),
        guider("depth", "demo-scenes-depth", 400),
        (class_nodes, class_links),
        {
            "class target": (
                *("PPAP_TargetClass", (-520, 460), (330, 130)),
                {"classes": "cone"},
            ),
            "apply": (
                *("PPAP_ApplyGuidance", (-520, 660), (330, 300)),
                {"guidance_scale": 0.1} | RELATIVE,
            ),
        },
        reference(seed=11),
        map_target(760, "reference decode", {"source": "reference picture"}),
        sampler("guided", 0, {"seed": 4, "guidance_scale": 0.1} | RELATIVE),
        show("guided", 0, saved=True),
        links=[
            *guide_by("apply", "experts", "target"),
            *guide_by("guided", "class experts", "class target"),
            (("class experts", "guider"), ("class target", "guider")),
            (("model", "model"), ("apply", "model")),
        ],
    )
    links.remove((("model", "model"), ("guided", "model")))
    return nodes, [*links, (("apply", "model"), ("guided", "model"))]


def restyle_with_depth() -> tuple[dict, list]:
    """The reference's latent, denoised again by 0.6, while its depth is kept."""
    nodes, links = join(
        note("restyle_with_depth"),
        start(batch_size=1),
        guider("depth", "demo-scenes-depth", 400),
        reference(seed=21),
        map_target(760, "reference decode", {"source": "reference picture"}),
        {"copies": ("RepeatLatentBatch", (COLUMN, 900 + ROW), (330, 60), {"amount": 4})},
        sampler("guided", 0, {"seed": 4, "guidance_scale": 0.1, "denoise": 0.6} | RELATIVE),
        show("guided", 0, saved=True),
        links=[
            *guide_by("guided", "experts", "target"),
            (("reference", "LATENT"), ("copies", "samples")),
        ],
    )
    links.remove((("latent", "LATENT"), ("guided", "latent_image")))
    return nodes, [*links, (("copies", "LATENT"), ("guided", "latent_image"))]


def latent_class_guidance() -> tuple[dict, list]:
    flow = {"seed": 4, "sampler_name": "euler", "scheduler": "simple"}
    return join(
        note("latent_class_guidance"),
        start_latent(batch_size=4),
        {
            "guider": ("PPAP_LoadGuider", (0, 400), (330, 90), {"guider": "demo-shapes-resnet"}),
            "experts": (
                *("PPAP_LoadExperts", (0, 550), (330, 150)),
                {"experts": LATENT_EXPERTS},
            ),
            "target": ("PPAP_TargetClass", (0, 760), (330, 130), {"classes": "cone"}),
        },
        sampler("guided", 0, LATENT_GUIDANCE | RELATIVE | flow, fed=LATENT_MODEL),
        show("guided", 0, saved=True, scale=4.0),
        sampler("plain", 1, flow, guided=False, fed=LATENT_MODEL),
        show("plain", 1, scale=4.0),
        links=[
            (("guider", "guider"), ("experts", "guider")),
            (("experts", "guider"), ("target", "guider")),
            (("vae", "VAE"), ("guided", "vae")),
            *guide_by("guided", "experts", "target"),
        ],
    )


def strength_and_report() -> tuple[dict, list]:
    """What guidance did, and the same noise under a row of scales."""
    column = 2 * COLUMN + 330 + 520
    seed = {"seed": 4}
    return join(
        note("strength_and_report"),
        start(batch_size=4),
        guider("class", "demo-shapes-resnet", 400),
        {"target": ("PPAP_TargetClass", (0, 740), (330, 130), {"classes": "cone"})},
        sampler("guided", 0, seed | {"guidance_scale": 0.1} | RELATIVE),
        show("guided", 0, saved=True),
        {
            "report": ("PPAP_GuidanceReport", (column, 60), (330, 200), {}),
            "curves": ("PreviewImage", (column + 360, 60), (480, 420), {}),
            "steps": ("PreviewImage", (column + 360, 540), (480, 300), {}),
            "sweep": (
                *("PPAP_ScaleSweep", (COLUMN, 60 + ROW), (330, 480)),
                SAMPLING | RELATIVE | seed | {"scales": "0, 0.03, 0.1, 0.2, 0.4"},
            ),
            "grid": ("PreviewImage", (2 * COLUMN, 60 + ROW), (810, 560), {}),
        },
        links=[
            (("experts", "guider"), ("target", "guider")),
            *guide_by("guided", "experts", "target"),
            (("guided", "guided_model"), ("report", "model")),
            (("guided", "LATENT"), ("report", "latent")),
            (("report", "curves"), ("curves", "images")),
            (("report", "steps"), ("steps", "images")),
            (("model", "model"), ("sweep", "model")),
            *((("model", "unconditional"), ("sweep", side)) for side in ("positive", "negative")),
            (("latent", "LATENT"), ("sweep", "latent_image")),
            (("vae", "VAE"), ("sweep", "vae")),
            *guide_by("sweep", "experts", "target"),
            (("sweep", "grid"), ("grid", "images")),
        ],
    )


RECIPES = {
    "class_guidance": class_guidance,
    "depth_from_reference": depth_from_reference,
    "segmentation_from_masks": segmentation_from_masks,
    "class_and_depth": class_and_depth,
    "restyle_with_depth": restyle_with_depth,
    "latent_class_guidance": latent_class_guidance,
    "strength_and_report": strength_and_report,
}


BLUEPRINT = "Guide with depth from a reference picture"


def blueprint() -> dict:
    """A subgraph: the nodes inside, the links between them, and what it shows of them.

    `around`: nodes outside that give it its sockets, and are taken away again. `shown`: (node,
    widget) in the order they stand on it.
    """
    inside, links = guider("depth", "demo-scenes-depth", 60)
    inside |= {
        "target": ("PPAP_TargetMap", (COLUMN, 60), (330, 240), {"source": "reference picture"}),
        "apply": (
            *("PPAP_ApplyGuidance", (2 * COLUMN, 60), (330, 300)),
            {"guidance_scale": 0.1} | RELATIVE,
        ),
    }
    around = {
        "model": ("PPAP_LoadPixelModel", (-COLUMN, 60), (330, 100), {}),
        "picture": ("LoadImage", (-COLUMN, 260), (330, 300), {}),
        "sampler": ("KSampler", (3 * COLUMN, 60), (330, 270), {}),
    }
    return {
        "name": BLUEPRINT,
        "description": "A MODEL that draws pictures with the depth of the reference picture.",
        "category": "PPAP",
        "inside": inside,
        "around": around,
        "links": [
            *links,
            (("model", "model"), ("apply", "model")),
            (("picture", "IMAGE"), ("target", "image")),
            (("experts", "guider"), ("target", "guider")),
            (("experts", "guider"), ("apply", "guider")),
            (("target", "target"), ("apply", "target")),
            (("apply", "model"), ("sampler", "model")),
        ],
        "shown": [
            ("guider", "guider"),
            ("experts", "experts"),
            ("apply", "guidance_scale"),
            ("apply", "end_percent"),
        ],
    }
