"""Target Boxes in the real ComfyUI: its own nodes' boxes, experts, pictures, errors."""

import re
from importlib.util import find_spec

import pytest
import torch

from demo.paths import BOXES_GUIDER
from demo.scenes import render
from demo.shapes import SHAPES

TRAINING = {
    **{"num_images": 10, "width": 32, "height": 32, "sampling_steps": 1, "num_experts": 1},
    **{"steps": 1, "batch_size": 4, "guider_input": "x0_hat", "seed": 0},
}
ASKED = (0.3, 0.25, 0.7, 0.75)


@pytest.fixture(scope="module")
def guider(call):
    return call("PPAP_LoadGuider", BOXES_GUIDER.name)[0]


def ask(call, guider, lines="", class_name="", outside=1.0, **inputs):
    settings = {"fit": "stretch", "width": 0, "height": 0} | inputs
    return call("PPAP_TargetBoxes", guider, lines, class_name, outside, **settings)


def sample(call, demo_model, guider=None, target=None, steps=8):
    model, empty = demo_model
    return call(
        "PPAP_GuidedKSampler",
        **{"model": model, "positive": empty, "negative": empty, "seed": 5, "cfg": 1.0},
        **{"steps": steps, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0},
        **{"guider": guider, "target": target},
        latent_image={"samples": torch.zeros(2, 3, 32, 32)},
    )


def test_the_hosts_own_boxes_and_masks_ask_for_the_same(comfyui, call, guider):
    left, top, right, bottom = ASKED
    drawn = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    pixels = {name: round(value * 200) for name, value in drawn.items()}
    sources = [{"lines": f"cone: {' '.join(map(str, ASKED))}"}]
    if find_spec("comfy_extras.nodes_bounding_boxes"):  # not in older hosts
        from comfy_extras.nodes_bounding_boxes import CreateBoundingBoxes

        boxes = CreateBoundingBoxes.execute(200, 200, editor_state=[pixels]).result[1]
        sources.append({"bboxes": boxes, "class_name": "cone", "width": 200, "height": 200})
    image = torch.rand(1, 200, 200, 3)
    sources.append({"bboxes": [[pixels | {"label": "cone", "score": 0.9}]], "image": image})
    mask = torch.zeros(1, 200, 200)
    mask[:, 50:150, 60:140] = 1
    sources.append({"mask": mask, "class_name": "cone"})
    for source in sources:
        target, preview, info = ask(call, guider, **source)
        (((index, corners, weight),),) = target.rows
        assert index == SHAPES.index("cone") and corners == pytest.approx(ASKED) and weight == 1
        assert preview.shape == (1, 512, 512, 3)
        assert info == "boxes for 1 picture: 1 cone\nnone of these classes elsewhere"


def test_experts_are_trained_and_pictures_follow_the_boxes(call, demo_model, guider):
    experts, preview, told = call("PPAP_TrainExperts", *demo_model, guider, "boxes", **TRAINING)
    assert "agreement with the guider on 1 picture" in told and preview.std() > 0.05
    target, _, _ = ask(call, guider, "cone: 0.3 0.25 0.7 0.75\n---\ntorus: 0.25 0.3 0.75 0.8")
    plain = sample(call, demo_model)[0]["samples"]
    for used, steps in ((experts, 3), (guider, 8)):
        latent, guided = sample(call, demo_model, used, target, steps)
        report = call("PPAP_GuidanceReport", guided, latent, 3)[2]
        told = "the detector was [\\w. ]+ % sure of what is asked for in the box, now [\\w. ]+ %"
        assert re.search(told, report), report
    guider.guider.switch.restore()
    place = next(guider.guider.parameters()).device
    with torch.no_grad():
        before, after = (
            target.log_likelihood(guider.guider(seen.clone().to(place))).mean().item()
            for seen in (plain, latent["samples"])
        )
    assert after > before + 1, (before, after)


def test_what_does_not_fit_is_said_before_sampling(call, demo_model, guider):
    with pytest.raises(ValueError, match="Target Boxes has no box: write one into the widget"):
        ask(call, guider)
    with pytest.raises(ValueError, match="the guider has no class 'cat': it knows 10 classes"):
        ask(call, guider, "cat: 0 0 1 1")
    edges, _ = call("PPAP_LoadGuider", "edge filter (Canny, no network)")
    with pytest.raises(ValueError, match="Target Boxes needs a detector .* use Target"):
        ask(call, edges, "cone: 0 0 1 1")
    target, _, _ = ask(call, guider, "cone: 0 0 1 1")
    with pytest.raises(ValueError, match="the guider predicts edges, the target is for boxes"):
        sample(call, demo_model, edges, target)
    three, _, _ = ask(call, guider, "\n---\n".join(["cone: 0 0 1 1"] * 3))
    with pytest.raises(ValueError, match="the target is for 3 pictures, the batch has 2"):
        sample(call, demo_model, guider, three)


def test_a_detectors_own_boxes_are_met_by_its_picture(call, guider):
    """What the guider sees in renders, asked for as a host's detector gives it."""
    pictures = render(2, seed=3).pictures()
    guider.guider.switch.restore()
    with torch.no_grad():
        answer = guider.guider(pictures.to(next(guider.guider.parameters()).device)).cpu()
    queries = answer[..., :-4].amax(2).argmax(1)
    boxes = []
    for row, query in zip(answer, queries, strict=True):
        x, y, width, height = (320 * row[query, -4:]).tolist()
        name = SHAPES[int(row[query, :-4].argmax())]
        corner = {"x": x - width / 2, "y": y - height / 2}
        boxes.append([corner | {"width": width, "height": height, "label": name}])
    target, _, _ = ask(call, guider, bboxes=boxes, width=320, height=320)
    sure = answer[..., :-4].amax(2).amax(1).sigmoid()
    torch.testing.assert_close(target.agreement(answer), sure)
