"""The benchmark's bookkeeping: what is planned, what is kept, what a table says of it."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest

from demo.scenes import render
from evidence.benchmark.budgets import BUDGETS
from evidence.benchmark.files import GUIDERS, experts_file
from evidence.benchmark.methods import (
    CLASS_METHODS,
    LATENT_METHODS,
    MAP_METHODS,
    MAX_SHARE,
    PPAP_5,
    RANKS,
    SINGLE,
    ablations,
)
from evidence.benchmark.pieces import Lesson, Row, asked_scenes
from evidence.benchmark.plan import Plan
from evidence.benchmark.rows import MEASURED, Key, Tables
from evidence.quality import interval
from evidence.tables import markdown
from ppap_core.distillation.student import Student, count_trainable
from ppap_core.guiders import load_guider

BUDGET = BUDGETS["quick"]
FOUND = dict.fromkeys(MEASURED["class"], 0.5)


def plan_in(folder, **changes) -> Plan:
    return Plan("quick", replace(BUDGET, **changes), Tables(folder))


@pytest.fixture
def no_experts(tmp_path, monkeypatch):
    monkeypatch.setattr("evidence.benchmark.files.FOLDER", tmp_path / "experts")
    (tmp_path / "experts").mkdir()


def finish(plan: Plan, value=lambda key: 0.5) -> list[str]:
    """Work through a plan without working: what was asked for, in its order."""
    asked = []
    while piece := next(iter(plan), None):
        asked.append(str(piece))
        if isinstance(piece, Row):
            plan.tables.add(piece.table, piece.key, FOUND | {"value": value(piece.key)})
        else:
            experts_file(piece.guider, piece.teaching, plan.budget, piece.seed).touch()
    return asked


def test_experts_are_trained_before_they_are_measured(tmp_path, no_experts):
    asked = finish(plan_in(tmp_path / "out"))
    lesson = asked.index("taught resnet, 5 experts, seed 1000")
    assert asked.count("taught resnet, 5 experts, seed 1000") == 1
    assert lesson < asked.index("class: resnet, PPAP-5, 0.2")
    assert len(asked) == len(set(asked))


def test_stopped_benchmark_resumes_and_finished_one_does_nothing(tmp_path, no_experts):
    first = plan_in(tmp_path / "out")
    for piece in list(first)[:1]:
        first.tables.add(piece.table, piece.key, FOUND)
    assert str(piece) not in finish(plan_in(tmp_path / "out"))
    assert list(plan_in(tmp_path / "out")) == []


def test_reported_scale_is_chosen_on_other_seeds(tmp_path, no_experts):
    plan = plan_in(tmp_path / "out", tuning=40, scales=(0.1, 0.2, 0.4))
    finish(plan, value=lambda key: 0.9 if key.scale == 0.2 else 0.5)
    reported = plan.tables.find("class", method=PPAP_5.name, noise="report")
    assert [key.scale for key in reported] == [0.2]
    tuned = plan.tables.find("class", method=PPAP_5.name, noise="tuning")
    assert sorted(key.scale for key in tuned) == [0.1, 0.2, 0.4]


def test_larger_scale_is_chosen_only_if_significantly_better(tmp_path, no_experts):
    """0.90 of 40 pictures has a standard error of 0.047."""
    plan = plan_in(tmp_path / "out", tuning=40, scales=(0.1, 0.2, 0.4))
    finish(plan, value=lambda key: {0.1: 0.84, 0.2: 0.86, 0.4: 0.9}.get(key.scale, 0.0))
    assert plan.best_scale("class", "resnet", PPAP_5) == 0.2


def test_only_rows_with_experts_use_more_training_seeds(tmp_path, no_experts):
    plan = plan_in(tmp_path / "out", training_seeds=3)
    finish(plan)
    seeds = {
        method.name: {key.training_seed for key in plan.tables.find("class", method=method.name)}
        for method in CLASS_METHODS
    }
    assert seeds["PPAP-5"] == {1000, 1001, 1002}
    assert seeds["off-the-shelf"] == {1000}


def test_rows_are_read_back_as_they_were_written(tmp_path):
    key = Key("quick", "resnet", "single, supervised", "DDIM-25", 0.2, 1, "report", 60)
    Tables(tmp_path).add("class", key, FOUND)
    assert Tables(tmp_path).rows["class"] == {key: FOUND}


def test_tuning_and_reporting_use_different_scenes():
    scenes = render(16, seed=3)
    many = type(scenes)(
        *(column.repeat(250, *[1] * (column.ndim - 1)) for column in vars(scenes).values())
    )
    numbered = replace(many, label=torch.arange(4000))
    reported = set(asked_scenes(numbered, 5000, "report").label.tolist())
    assert reported.isdisjoint(asked_scenes(numbered, 2000, "tuning").label.tolist())


@pytest.mark.parametrize("right, n", [(160, 200), (150, 150), (0, 60), (59, 60)])
def test_interval_of_one_seed_is_near_the_exact_binomial_interval(right, n):
    low, high = interval([right / n], n)
    exact = binomtest(right, n).proportion_ci(method="exact")
    assert [low, high] == pytest.approx([exact.low, exact.high], abs=0.02)
    assert low < high


def test_seeds_that_differ_widen_an_interval():
    low, high = interval([0.6, 0.8, 1.0], 1000)
    assert high - low > 2 * (interval([0.8] * 3, 1000)[1] - interval([0.8] * 3, 1000)[0])


def test_an_expert_has_at_most_the_papers_share_of_parameters():
    for name, rank in RANKS.items():
        if (GUIDERS[name] / "config.json").exists():
            backbone = load_guider(GUIDERS[name]).backbone
            adapter = PPAP_5.teaching.settings(name, BUDGET, 0).adapter
            total = sum(p.numel() for p in backbone.parameters())
            student = Student(backbone, adapter)
            assert count_trainable(student) <= MAX_SHARE * total
            more = replace(adapter, rank=rank + 1, lora_alpha=rank + 1.0)
            assert count_trainable(Student(backbone, more)) > MAX_SHARE * total


def test_all_rows_train_for_the_same_number_of_iterations():
    for method in (*CLASS_METHODS, *LATENT_METHODS, *ablations()):
        if not method.teaching or "4000 steps" in method.name:  # these say how long they train
            continue
        settings = method.teaching.settings("resnet", BUDGETS["full"], 0)
        assert settings.steps_per_expert() * settings.num_experts == BUDGETS["full"].iterations


def test_experts_learn_from_what_their_method_reads():
    for method in (*CLASS_METHODS, *MAP_METHODS, *LATENT_METHODS, *ablations()):
        if method.teaching:
            settings = method.teaching.settings("resnet", BUDGET, 0)
            assert settings.input == method.input, method.name


def test_experts_with_different_settings_have_different_files():
    kept = [method.teaching for method in ablations() if method.name.startswith("kept")]
    teachings = (PPAP_5.teaching, SINGLE.teaching, *kept)
    files = {
        experts_file(guider, teaching, budget, seed)
        for guider in RANKS
        for teaching in teachings
        for budget in (BUDGET, BUDGETS["full"])
        for seed in (0, 1)
    }
    assert len(files) == len(RANKS) * 4 * len(teachings)


def test_finished_lesson_is_not_repeated(tmp_path, no_experts):
    lesson = Lesson("resnet", PPAP_5.teaching, 0)
    assert not lesson.is_done(BUDGET)
    experts_file("resnet", PPAP_5.teaching, BUDGET, 0).touch()
    assert lesson.is_done(BUDGET)


def test_a_table_has_a_line_for_each_row():
    text = "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |"
    assert markdown([{"a": "1", "b": "2"}, {"a": "3"}]) == text


def test_experts_are_not_measured_before_they_are_trained(tmp_path, no_experts):
    """Several processes take pieces from the plan at once."""
    plan = plan_in(tmp_path / "out", tables=("class", "depth", "ablations"), methods=())
    for piece in plan:
        if isinstance(piece, Row) and piece.method.teaching:
            assert Lesson(piece.key.guider, piece.method.teaching, 1000).is_done(plan.budget)
