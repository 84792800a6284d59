"""Errors in a node's own words: its sockets and widgets."""

from collections.abc import Callable
from functools import wraps

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider
from ..ppap_core.errors import SettingError
from ..ppap_core.targets import Target
from ..ppap_core.targets.score_target import ScoreTarget
from ..ppap_core.targets.wording import any_of
from ..ppap_core.tasks import all_tasks, get_task
from .options import Options


def expect_guider(value: object, node: type) -> LoadedGuider:
    """`value`, if it is a guider of this pack. ValueError for what switches may pass on instead."""
    return _expect(value, LoadedGuider, "a guider of Load Off-the-shelf Guider", "guider", node)


def expect_target(value: object, node: type) -> Target:
    """`value`, if it is a target. ValueError for what switches may pass on instead."""
    return _expect(value, Target, "a target of a Target node", "target", node)


def _expect(value: object, kind: type, what: str, socket: str, node: type):
    if not isinstance(value, kind):
        found = "nothing" if value is None else f"a {type(value).__name__}"
        raise ValueError(
            f"{_name(node)} needs {what} at its socket {socket}, but got {found}: connect one, and "
            f"look at switches and bypassed nodes before it"
        )
    return value


def check_sockets(guider, target, options=None) -> None:
    """ValueError for what a switch, or a node that gives anything, passed on to these sockets."""
    kinds = {
        "guider": (guider, LoadedGuider, "Load Off-the-shelf Guider"),
        "target": (target, Target, "a Target node of this pack"),
        "options": (options, Options, "PPAP Guidance Options"),
    }
    for socket, (value, kind, node) in kinds.items():
        if value is not None and not isinstance(value, kind):
            raise ValueError(
                f"the socket {socket!r} takes the output of {node}; it got a {type(value).__name__}"
            )


def expect_task(guider: LoadedGuider, node: type, *tasks: str) -> None:
    """ValueError, saying what was expected and which socket to change, for a guider of others."""
    info = expect_guider(guider, node).guider.info
    if info.task not in tasks:
        raise ValueError(
            f"{_name(node)} needs {any_of([get_task(task).model for task in tasks])} at its "
            f"socket guider, but {info.source} is {info.asks.model}: connect another guider there, "
            f"or use {info.asks.target_nodes} with this one"
        )


def expect_score(guider: LoadedGuider, node: type) -> None:
    """ValueError for a guider that does not answer with one score."""
    info = expect_guider(guider, node).guider.info
    if (info.task, info.answer) != (ScoreTarget.task, ScoreTarget.answer):
        raise ValueError(
            f"{_name(node)} needs a guider of a score at its socket guider, but {info.source} is "
            f"{info.asks.model}: put Add Score Head after a CLIP, SigLIP or DINO, or use "
            f"{info.asks.target_nodes} with this guider"
        )
    if len(info.labels) != 1:
        raise ValueError(
            f"{_name(node)} needs a guider of one score, but {info.source} has "
            f"{len(info.labels)}: choose among them with {info.asks.target_nodes}"
        )


def expect_classes(guider: LoadedGuider, node: type) -> None:
    """ValueError for a guider that knows no classes."""
    info = expect_guider(guider, node).guider.info
    if not info.labels:
        raise ValueError(
            f"{_name(node)} lists the classes of the guider at its socket guider, but "
            f"{info.source} is {info.asks.model}, which has none: connect "
            f"{' or '.join(task.model for task in all_tasks() if task.knows_classes)}"
        )


def told_by_its_widgets(**names: str) -> Callable[[Callable], Callable]:
    """For `execute` of a node: a SettingError says which sockets and widgets help.

    `names`: settings that are called otherwise on the node.
    """

    def decorate(execute: Callable) -> Callable:
        @wraps(execute)
        def told(cls, *args, **kwargs):
            try:
                return execute(cls, *args, **kwargs)
            except SettingError as error:
                raise ValueError(error.told(_places(cls, names).get)) from error

        return told

    return decorate


def _places(node: type, names: dict[str, str]) -> dict[str, str]:
    """Setting -> "widget x" or "socket x". `names`: settings that `node` calls otherwise."""
    places = {
        entry.id: f"{'widget' if isinstance(entry, io.WidgetInput) else 'socket'} {entry.id}"
        for entry in node.define_schema().inputs
    }
    return places | {setting: places[name] for setting, name in names.items()}


def _name(node: type) -> str:
    return node.define_schema().display_name
