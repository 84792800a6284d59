"""All tasks that are known: the pack's own, and those that other packs register."""

from .task import Comparison, Task

_TASKS: dict[str, Task] = {}


def register_task(task: Task) -> None:
    """Make `task` known. ValueError for a name that is taken."""
    if task.name in _TASKS:
        raise ValueError(
            f"a task {task.name!r} is registered already: register it once, or choose another name"
        )
    _TASKS[task.name] = task


def task_names() -> tuple[str, ...]:
    return tuple(_TASKS)


def all_tasks() -> tuple[Task, ...]:
    return tuple(_TASKS.values())


def find_task(name: str) -> Task | None:
    """None for a name that nobody has registered."""
    return _TASKS.get(name)


def get_task(name: str) -> Task:
    """ValueError for a name that nobody has registered."""
    if name not in _TASKS:
        raise ValueError(f"task is one of {', '.join(_TASKS)}, got {name!r}")
    return _TASKS[name]


def comparisons() -> dict[str, Comparison]:
    """By the kind of a guider's answers, and with a comma by the variant: "depth", "depth, mse"."""
    found = {}
    for task in _TASKS.values():
        for answer, comparison in task.comparisons.items():
            kind = task.kind(answer)
            found[kind] = comparison
            found |= {f"{kind}, {name}": other for name, other in comparison.variants.items()}
    return found


def trainable_kinds() -> tuple[str, ...]:
    """The kinds of guiders for which experts can be trained."""
    return tuple(task.kind(answer) for task in _TASKS.values() for answer in task.comparisons)
