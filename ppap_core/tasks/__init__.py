"""Tasks: the kinds of answers that guiders give, one file for each.

A `Task` says what its guiders answer, which targets can be asked, how experts learn it, how it is
shown and told, and what is recommended for it. Nothing else in the pack knows a task by its name.
`register_task` makes one known: the pack's own below, and other packs' (docs/tasks.md).
"""

from .boxes_task import BOXES
from .class_task import CLASS, SCORES
from .depth_task import DEPTH
from .edges_task import EDGES
from .embedding_task import EMBEDDING
from .likeness_task import LIKENESS
from .normals_task import NORMALS
from .pose_task import POSE
from .registry import (
    all_tasks,
    comparisons,
    find_task,
    get_task,
    register_task,
    task_names,
    trainable_kinds,
)
from .segmentation_task import SEGMENTATION
from .style_task import STYLE
from .task import CLASSES, Comparison, Preview, Recommendation, Recommended, Task

__all__ = [
    "BOXES",
    "CLASS",
    "CLASSES",
    "DEPTH",
    "EDGES",
    "EMBEDDING",
    "LIKENESS",
    "NORMALS",
    "POSE",
    "SCORES",
    "SEGMENTATION",
    "STYLE",
    "Comparison",
    "Preview",
    "Recommendation",
    "Recommended",
    "Task",
    "all_tasks",
    "comparisons",
    "find_task",
    "get_task",
    "register_task",
    "task_names",
    "trainable_kinds",
]

_ALL = (CLASS, DEPTH, SEGMENTATION, NORMALS, EDGES, EMBEDDING, LIKENESS, POSE, STYLE, BOXES)
for _task in _ALL:
    register_task(_task)
