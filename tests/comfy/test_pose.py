"""Target Pose in the real ComfyUI: its own detector's keypoints, experts, pictures, errors."""

import re

import numpy
import pytest
import torch
import transformers

from demo.keypoints import scene_keypoints
from demo.paths import POSE_GUIDER
from demo.pose_models import load_pose_judge, pose_target
from demo.scenes import render
from ppap_core.guiders.pose_guider import COCO
from tests.core.tiny_guiders import transformers_folder

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "AutoModelForPoseEstimation"),
    reason="this transformers has no pose models by task",
)
TRAINING = {
    **{"num_images": 12, "width": 32, "height": 32, "sampling_steps": 2, "num_experts": 1},
    **{"steps": 2, "batch_size": 4, "guider_input": "x0_hat", "seed": 0},
}


@pytest.fixture(scope="module")
def guider(comfyui, call):
    folder = comfyui.base / "models" / "ppap_guiders" / "tiny-pose"
    transformers_folder(folder, "VitPoseForPoseEstimation")
    return call("PPAP_LoadGuider", "tiny-pose")[0]


def coco_person(seed=0, low=0.2, high=0.8):
    """COCO's 17 joints in [0, 1], in their order."""
    return low + (high - low) * torch.rand(17, 2, generator=torch.Generator().manual_seed(seed))


def detected(comfyui, *people, size=(640, 480), sure=0.9):
    """POSE_KEYPOINT of one frame per person, as ComfyUI's SDPose makes it of 133 joints."""
    from comfy_extras.nodes_sdpose import _to_openpose_frames

    whole = numpy.zeros((len(people), 133, 2), numpy.float32)
    whole[:, :17] = torch.stack(people).numpy() * size
    scores = numpy.full((len(people), 133), sure, numpy.float32)
    return _to_openpose_frames([[w] for w in whole], [[s] for s in scores], size[1], size[0])


def pose(call, guider, person=0, confidence=0.3, **inputs):
    settings = {"fit": "stretch", "width": 0, "height": 0} | inputs
    return call("PPAP_TargetPose", guider, person, confidence, **settings)


def sample(call, demo_model, guider=None, target=None, shape=(2, 3, 32, 32), steps=6):
    model, empty = demo_model
    return call(
        "PPAP_GuidedKSampler",
        **{
            "model": model,
            "positive": empty,
            "negative": empty,
            "seed": 5,
            "steps": steps,
            "cfg": 1.0,
        },
        **{"sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0},
        **{"guider": guider, "target": target},
        latent_image={"samples": torch.zeros(shape)},
    )


def test_the_hosts_own_keypoints_ask_for_coco_joints(comfyui, call, guider):
    people = coco_person(0), coco_person(1)
    target, preview, info, _ = pose(call, guider, keypoints=detected(comfyui, *people))
    torch.testing.assert_close(target.points, torch.stack(people))
    assert preview.shape == (2, 384, 512, 3) and guider.guider.info.labels == COCO
    assert info == (
        "pose target for 2 pictures: 17, 17 of 17 joints\n"
        "keypoints has 1 person in a picture: everyone is asked for\n"
        "the guider does not know the joints of left hand, right hand, face, feet"
    )


def there(guider, images):
    """A copy where the guider is."""
    return images.clone().to(next(guider.guider.parameters()).device)


def test_a_reference_is_met_by_its_own_picture(call, guider):
    image = (render(2, seed=3).pictures().movedim(1, -1) + 1) / 2
    target, preview, info, _ = pose(call, guider, image=image, confidence=0.0)
    assert preview.shape == (2, 512, 512, 3) and info.startswith("pose target for 2 pictures")
    guider.guider.switch.restore()
    with torch.no_grad():
        heatmaps = guider.guider(there(guider, image.movedim(-1, 1) * 2 - 1))
    assert target.agreement(heatmaps).tolist() == [1.0, 1.0]


@pytest.mark.slow
def test_experts_are_trained_and_pictures_follow_the_pose(comfyui, call, demo_model, guider):
    experts, preview, told = call("PPAP_TrainExperts", *demo_model, guider, "poses", **TRAINING)
    assert "agreement with the guider on 1 picture" in told and preview.std() > 0.05
    target, *_ = pose(call, guider, keypoints=detected(comfyui, coco_person()))
    plain = sample(call, demo_model)[0]["samples"]
    for used in (experts, guider):
        latent, guided = sample(call, demo_model, used, target)
        report = call("PPAP_GuidanceReport", guided, latent, 3)[2]
        assert re.search(r"[\d.]+ % of the joints were as asked, now [\d.]+ %", report), report
    guider.guider.switch.restore()
    with torch.no_grad():
        before, after = (
            target.log_likelihood(guider.guider(there(guider, seen))).mean().item()
            for seen in (plain, latent["samples"])
        )
    assert after > before + 0.02, (before, after)


@pytest.fixture(scope="module")
def two_scenes(call):
    """The demo's guider, the exact key points of two scenes, and what the node says of both.

    The scenes stand side by side in a picture, with a box around each.
    """
    guider = call("PPAP_LoadGuider", POSE_GUIDER.name)[0]
    scenes, truth = render(2, seed=31).pictures(), scene_keypoints(2, seed=31)
    wide = torch.cat(tuple(scenes), dim=2)[None]
    inner = 32 / 1.25  # with its margin a box is one scene
    boxes = [
        {"x": left + (32 - inner) / 2, "y": (32 - inner) / 2, "width": inner, "height": inner}
        for left in (0, 32)
    ]
    image = (wide.movedim(1, -1) + 1) / 2
    whole = {"confidence": 0.0, "image": image, "bboxes": boxes}
    return guider, truth, pose(call, guider, **whole, region="people")


def test_two_in_a_reference_are_read_in_their_boxes(call, demo_model, two_scenes):
    guider, truth, (target, preview, info, region) = two_scenes
    assert info.startswith("pose target for 1 picture: 2 people, 10 joints")
    assert preview.shape == (1, 256, 512, 3) and region.shape == (1, 256, 512)
    points = [
        box[:2] + inner.points[0] * (box[2:] - box[:2])
        for box, inner in zip(target.boxes[0], target.targets, strict=True)
    ]
    seen = torch.stack(sorted(points, key=lambda own: own[0, 0].item()))
    wanted = truth / torch.tensor((2.0, 1.0)) + torch.tensor([[[0.0, 0.0]], [[0.5, 0.0]]])
    assert (seen - wanted).abs().median() < 0.02 and (seen - wanted).abs().max() < 0.1
    latent, guided = sample(call, demo_model, guider, target, shape=(1, 3, 32, 64), steps=1)
    report = call("PPAP_GuidanceReport", guided, latent, 3)[2]
    assert re.search(r"[\d.]+ % of the joints were as asked", report), report


@pytest.mark.slow
def test_a_picture_follows_two_people_at_once(call, demo_model, two_scenes):
    """As a judge sees it that does not guide."""
    guider, truth, (target, *_) = two_scenes
    judge, met = load_pose_judge(), []
    for used in ((None, None), (guider, target)):
        latent, _ = sample(call, demo_model, *used, shape=(1, 3, 32, 64))
        halves = torch.cat(latent["samples"].clone().cpu().split(32, dim=3))
        with torch.no_grad():
            met.append(pose_target(truth).log_likelihood(judge(halves)).mean().item())
    assert met[1] > met[0] + 1, met


def test_what_does_not_fit_is_said_before_sampling(comfyui, call, demo_model, guider):
    keypoints = detected(comfyui, coco_person())
    image = torch.rand(1, 32, 32, 3)
    both = {"image": image, "keypoints": keypoints}
    for inputs in ({}, both):
        with pytest.raises(ValueError, match="reads its socket image or its socket keypoints"):
            pose(call, guider, **inputs)
    with pytest.raises(ValueError, match="widget person is 2, but in image the guider sees one"):
        pose(call, guider, person=2, image=image)
    boxes = [{"x": 0, "y": 0, "width": 16, "height": 32}]
    with pytest.raises(ValueError, match="bboxes belongs to the socket image: disconnect it"):
        pose(call, guider, keypoints=keypoints, bboxes=boxes)
    with pytest.raises(ValueError, match="person is 3, but picture 1 of the socket bboxes has 2"):
        pose(call, guider, person=3, confidence=0.0, image=image, bboxes=boxes * 2)
    away = [boxes[0] | {"x": 40}]
    with pytest.raises(ValueError, match="box of the socket bboxes is empty or outside the pict"):
        pose(call, guider, image=image, bboxes=away)
    with pytest.raises(ValueError, match="boxes of 2 pictures, the socket image has 1: connect"):
        pose(call, guider, image=image, bboxes=[boxes, boxes])
    edges, _ = call("PPAP_LoadGuider", "edge filter (Canny, no network)")
    line = "Target Pose needs a pose model at its socket guider, but edge filter .* use Target"
    with pytest.raises(ValueError, match=line):
        pose(call, edges, keypoints=keypoints)
    target, *_ = pose(call, guider, keypoints=keypoints)
    with pytest.raises(ValueError, match="the guider predicts edges, the target is for pose"):
        sample(call, demo_model, edges, target)
    three = detected(comfyui, *[coco_person()] * 3)
    with pytest.raises(ValueError, match="the target is for 3 pictures, the batch has 2"):
        sample(call, demo_model, guider, pose(call, guider, keypoints=three)[0])
