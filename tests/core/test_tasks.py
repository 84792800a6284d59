"""Tasks as a registry: each is known in one place, and incomplete ones are refused."""

import ast
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

import ppap_core
from ppap_core.expert_file import load_experts, save_experts
from ppap_core.targets import ClassTarget
from ppap_core.tasks import CLASS, SCORES, Task, all_tasks, get_task, register_task, registry
from ppap_core.tasks import task_names as names
from ppap_core.tasks.task import REQUIRED

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))


class GazeTarget:
    task = "gaze"

    def log_likelihood(self, answer):
        return -answer.square().flatten(1).mean(1)


def gaze(**changes) -> Task:
    parts = {field.name: getattr(CLASS, field.name) for field in fields(Task)}
    parts |= {"name": "gaze", "targets": (GazeTarget,), "shape": (17, "h", "w")}
    return Task(**parts | changes)


def test_a_registered_task_is_known_everywhere():
    register_task(gaze())
    info = ppap_core.GuiderInfo("mine", "net", "gaze", (), "f" * 64)
    assert info.kind == "gaze" and replace(info, answer="score").kind == "gaze, score"
    assert names()[-1] == "gaze" and registry.comparisons()["gaze, score"] is SCORES
    with pytest.raises(ValueError, match="a task 'gaze' is registered already: register it once"):
        register_task(gaze())


@pytest.mark.parametrize("part", [*REQUIRED, "preview"])
def test_a_task_without_a_part_is_refused(part):
    told = "a task" if part == "name" else "the task 'gaze'"
    with pytest.raises(ValueError, match=f"^{told} lacks {part}: a task is made of name, answers"):
        gaze(**{part: None})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"answers": {}}, "lacks answers"),
        ({"name": ""}, "a task lacks name"),
        ({"targets": ()}, "lacks targets"),
        ({"comparisons": {"softmax": SCORES}}, "lacks a comparison of answers that are 'sigmoid'"),
        ({"comparisons": {"joint": SCORES}}, "compares answers that it does not have: 'joint'"),
        ({"targets": (ClassTarget,)}, "its target ClassTarget needs .* attribute task = 'gaze'"),
        ({"targets": (Path,)}, "its target Path needs a method log_likelihood"),
        ({"shape": (0, "h")}, "its shape is made of whole numbers above 0 and names of axes"),
        ({"shape": "hw"}, "its shape is made of whole numbers above 0 and names of axes"),
    ],
)
def test_a_task_whose_parts_do_not_fit_is_refused(changes, line):
    with pytest.raises(ValueError, match=line) as error:
        gaze(**changes)
    assert "\n" not in str(error.value)


def test_without_comparisons_no_experts_can_be_trained():
    from ppap_core.distillation.losses import loss_kind

    register_task(gaze(comparisons={}, preview=None))
    with pytest.raises(ValueError, match="experts cannot be trained .* that predicts gaze: use"):
        loss_kind("gaze")


@pytest.mark.parametrize(
    ("shape", "answer", "line"),
    [
        ((17, "h", "w"), (1, 17, 4, 4), ""),
        ((17, "h", "w"), (1, 16, 4, 4), r"answers \(1, 16, 4, 4\) about one .* \(1, 17, h, w\)"),
        ((17, "h", "w"), (1, 17), r"answers \(1, 17\) about one picture; gaze .* \(1, 17, h, w\)"),
        (("K", 2), (1, 3, 2), ""),
        (("K", 2), (1, 2, 2), r"gaze guiders answer \(1, 3, 2\)"),
        ((), (1,), ""),
        ((), (1, 1), r"gaze guiders answer \(1,\)"),
    ],
)
def test_a_guider_is_tried_against_the_shape_of_its_task(shape, answer, line):
    class Answers(torch.nn.Module):
        def forward(self, pixels):
            return torch.randn(answer) + pixels.mean()

    register_task(gaze(shape=shape))
    info = ppap_core.GuiderInfo("mine", "net", "gaze", tuple("abc"), "f" * 64)
    reads = ppap_core.Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3, crop_mode="squash")
    guider = ppap_core.Guider(Answers(), reads, info)
    if not line:
        ppap_core.check_by_trial(guider, "mine")
        return
    with pytest.raises(ValueError, match=line):
        ppap_core.check_by_trial(guider, "mine")


def test_experts_for_a_task_that_nobody_brings_are_refused_in_one_line(tmp_path, monkeypatch):
    register_task(gaze())
    made = load_experts(ROOT / "demo/models/ppap_experts/demo-shapes-resnet.safetensors")
    file = tmp_path / "p.safetensors"
    save_experts(replace(made, header=replace(made.header, task="gaze")), file)
    assert load_experts(file).header.task == "gaze"
    monkeypatch.delitem(registry._TASKS, "gaze")
    line = (
        r"^expert file 'p.safetensors': its experts are for the task 'gaze', which no pack that is "
        r"loaded brings: install or enable the pack that does, and load its guider first$"
    )
    with pytest.raises(ValueError, match=line):
        load_experts(file)


def test_an_unknown_task_is_told_the_known_ones():
    with pytest.raises(ValueError, match="task is one of class, depth, segmentation.*got 'gaze'"):
        get_task("gaze")


def asks_for_a_task(node: ast.AST, tasks: set[str]) -> bool:
    """A comparison with the name of a task, or a mapping by such names."""

    def is_name(value: ast.AST | None) -> bool:
        return isinstance(value, ast.Constant) and value.value in tasks

    if isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
        parts += [e for part in parts if isinstance(part, ast.Tuple | ast.List) for e in part.elts]
        return any(map(is_name, parts))
    return isinstance(node, ast.Dict) and len([k for k in node.keys if is_name(k)]) > 1


def test_no_file_but_a_tasks_own_asks_for_a_task_by_its_name():
    tasks = {task.name for task in all_tasks()}
    files = [p for folder in ("ppap_core", "nodes") for p in (ROOT / folder).rglob("*.py")]
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        if path.parent.name != "tasks"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if asks_for_a_task(node, tasks)
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "info.task == 'class'",
        "task in ('depth', 'x')",
        "'depth' != task",
        "{'class': 1, 'depth': 2}",
    ],
)
def test_a_question_for_a_task_by_its_name_is_found(source):
    found = [n for n in ast.walk(ast.parse(source)) if asks_for_a_task(n, {"class", "depth"})]
    assert len(found) == 1


def test_the_public_names_are_there_and_no_others():
    needs_comfyui = {"LoadedGuider"}  # tests/server/test_another_pack.py takes it
    names = set(ppap_core.__all__) - needs_comfyui
    assert len(names) > 10 and all(getattr(ppap_core, name) is not None for name in names)
    with pytest.raises(AttributeError, match="no public name 'train'"):
        _ = ppap_core.train
