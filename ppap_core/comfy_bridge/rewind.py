"""What the functions and objects on a MODEL remember, taken down and put back.

Step caches and many patches remember earlier evaluations: in the cells of a closure, in the
attributes of an object, in a dict or list. Whatever they are called, it can be found from the
model's options. An evaluation of ours is to find them as they were before the sampling's first one
(a cache that has seen nothing has no answer), and to leave them as it found them.
"""

import functools
import types
from collections import deque
from collections.abc import Iterable

import comfy.model_patcher
import torch
from torch import nn

HOSTS = {"torch", "comfy", "comfy_execution", "execution", "server", "nodes", "aiohttp", "numpy"}
"""Top packages of classes whose objects are the host's own: what they hold is not a patch's."""
PACK = __package__.rpartition(".ppap_core")[0] or "ppap_core"
MOST = 20_000  # objects: more than hang on any model, less than a whole program's
OF_EVERY_MODULE = frozenset(vars(nn.Module()))

Content = dict | list | set | tuple


class Remembered:
    """The present content of all that can change and can be reached from `roots`.

    Dicts, lists, sets, deques, cells of closures, attributes of objects. Tensors, modules and the
    host's own objects are not looked into: who wants to remember another one holds another one.
    `attributes_of`: a module whose plain attributes count as well; some patches keep theirs there.
    """

    def __init__(self, *roots: object, attributes_of: nn.Module | None = None):
        self._found: dict[int, tuple[object, Content | None]] = {}
        queue: deque[object] = deque(roots)
        if attributes_of is not None:
            self._note(attributes_of, _module_attributes(attributes_of), queue)
        while queue and len(self._found) < MOST:
            value = queue.popleft()
            if id(value) not in self._found:
                self._note(value, _content(value), queue)

    def _note(self, value: object, content: Content | None, queue: deque) -> None:
        self._found[id(value)] = value, content
        queue.extend(content.values() if isinstance(content, dict) else content or ())
        queue.extend(_parts(value))

    @property
    def objects(self) -> list[object]:
        """Everything that was reached; as roots of another `Remembered` it covers the same."""
        return [value for value, _ in self._found.values()]

    def has_changed(self) -> bool:
        return any(not _is_same(value, content) for value, content in self._found.values())

    def put_back(self) -> None:
        """Every object gets the content that it had; most have it still."""
        for value, content in self._found.values():
            if not _is_same(value, content):
                _set_content(value, content)


def _content(value: object) -> Content | None:
    """A shallow copy of what `value` holds and may hold otherwise tomorrow; None for most."""
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list | deque):
        return list(value)
    if isinstance(value, set):
        return set(value)
    if isinstance(value, types.CellType):
        return _cell_content(value)
    return dict(vars(value)) if _is_foreign_object(value) else None


def _cell_content(cell: types.CellType) -> tuple:
    try:
        return (cell.cell_contents,)
    except ValueError:  # nothing was assigned yet
        return ()


def _module_attributes(module: nn.Module) -> dict:
    return {name: value for name, value in vars(module).items() if name not in OF_EVERY_MODULE}


def _parts(value: object) -> Iterable[object]:
    """What is reached through something that itself stays as it is."""
    if isinstance(value, tuple | frozenset):
        return value
    if isinstance(value, types.FunctionType):
        defaults = value.__defaults__, value.__kwdefaults__
        return *(value.__closure__ or ()), *(each for each in defaults if each), value.__dict__
    if isinstance(value, types.MethodType):
        return value.__func__, value.__self__
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    return ()


def _is_foreign_object(value: object) -> bool:
    """An object with attributes that is neither a tensor, a module of weights nor the host's."""
    shared = (torch.Tensor, nn.Module, comfy.model_patcher.ModelPatcher, type, types.ModuleType)
    functions = (types.FunctionType, types.MethodType, functools.partial)
    if isinstance(value, (*shared, *functions)):
        return False
    if not isinstance(getattr(value, "__dict__", None), dict):
        return False
    home = type(value).__module__ or ""
    return home.partition(".")[0] not in HOSTS and not f"{home}.".startswith(f"{PACK}.")


def _is_same(value: object, content: Content | None) -> bool:
    if content is None:
        return True
    now = _module_attributes(value) if isinstance(value, nn.Module) else _content(value)
    if isinstance(content, set):
        return now == content
    if isinstance(content, dict):
        same = now.keys() == content.keys()
        return same and all(now[key] is kept for key, kept in content.items())
    return len(now) == len(content) and all(a is b for a, b in zip(now, content, strict=True))


def _set_content(value: object, content: Content) -> None:
    if isinstance(value, types.CellType):
        if content:
            value.cell_contents = content[0]
        else:
            del value.cell_contents
    elif isinstance(value, list | deque):
        value.clear()
        value.extend(content)
    elif isinstance(value, dict | set):
        value.clear()
        value.update(content)
    else:
        attributes = vars(value)
        now = _module_attributes(value) if isinstance(value, nn.Module) else attributes
        for name in now.keys() - content.keys():
            del attributes[name]
        attributes.update(content)
