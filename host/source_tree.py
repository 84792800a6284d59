"""What a folder of Python source defines, read without running it: modules, names, attributes."""

import ast
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple


class Reference(NamedTuple):
    """What an import binds: a dotted name, from the top of the tree."""

    name: str


Meaning = ast.AST | Reference
NESTING = ("body", "orelse", "finalbody", "handlers")  # fields of if, try, with and for


class SourceTree:
    """The Python source in `root`; it is parsed when it is first asked for."""

    def __init__(self, root: Path):
        self.root = root
        self.module = cache(self._module)

    def has(self, name: str) -> bool:
        """Whether `name`, such as "comfy.samplers.KSampler.SAMPLERS", is there.

        True where it cannot be told: an attribute of a value, of a class with a base from
        elsewhere, or of another library's module.
        """
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            if module := self.module(".".join(parts[:cut])):
                return self._has_in_module(module, parts[cut:])
        return False

    def contains(self, top: str) -> bool:
        """Whether the package or module `top` lies in this tree."""
        return (self.root / top).is_dir() or (self.root / f"{top}.py").is_file()

    def _module(self, name: str) -> "Module | None":
        folder = self.root.joinpath(*name.split("."))
        file = folder.with_name(f"{folder.name}.py")
        for path, package in ((folder / "__init__.py", name), (file, name.rpartition(".")[0])):
            if path.is_file():
                return Module(path, package)
        return Module(None, name) if folder.is_dir() else None  # a package without __init__.py

    def _has_in_module(self, module: "Module", path: list[str]) -> bool:
        if not path:
            return True
        meaning = module.names.get(path[0])
        if meaning is None:
            return any(self.has(".".join([star, *path])) for star in module.stars)
        if isinstance(meaning, Reference):
            top = meaning.name.split(".")[0]
            return not self.contains(top) or self.has(".".join([meaning.name, *path[1:]]))
        if isinstance(meaning, ast.ClassDef):
            return self.class_has(module, meaning, path[1:])
        return True

    def class_has(self, module: "Module", of: ast.ClassDef, path: list[str]) -> bool:
        """Whether the class `of`, defined in `module`, or one of its bases has the attribute."""
        if not path:
            return True
        found = attributes(of).get(path[0])
        if isinstance(found, ast.ClassDef):
            return self.class_has(module, found, path[1:])
        return found is not None or any(self._base_has(module, b, path) for b in of.bases)

    def _base_has(self, module: "Module", base: ast.expr, path: list[str]) -> bool:
        name = dotted(base)
        if name is None:
            return True
        first, _, rest = name.partition(".")
        meaning = module.names.get(first)
        if isinstance(meaning, ast.ClassDef) and not rest:
            return self.class_has(module, meaning, path)
        if isinstance(meaning, Reference):
            whole = ".".join([meaning.name, *rest.split(".")] if rest else [meaning.name])
            inside = self.contains(meaning.name.split(".")[0])
            return not inside or self.has(".".join([whole, *path]))
        return first not in ("object", "ABC", "Enum", "NamedTuple")  # unknown: it may have it


class Module:
    """One file: what its top level binds. `path` None: a package without a file."""

    def __init__(self, path: Path | None, package: str):
        self.path, self.package = path, package
        self.stars: list[str] = []  # modules all of whose names it takes

    @cached_property
    def names(self) -> dict[str, Meaning]:
        tree = ast.parse(self.path.read_text("utf-8")) if self.path else ast.Module([], [])
        found: dict[str, Meaning] = {}
        for node in statements(tree):
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                self.stars.append(imported_from(node, self.package))
            found |= dict(bound_by(node, self.package))
        return found


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Those that run when `node` does: not the ones in functions and classes inside it."""
    for field in NESTING:
        for child in getattr(node, field, []):
            yield child
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from statements(child)


def imported_from(node: ast.ImportFrom, package: str) -> str:
    """The module that `node`, in a file of `package`, imports from."""
    if not node.level:
        return node.module
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def bound_by(node: ast.stmt, package: str) -> Iterator[tuple[str, Meaning]]:
    """(name, meaning) of all names that a statement binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, node
    elif isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.split(".")[0]
            yield alias.asname or top, Reference(alias.name if alias.asname else top)
    elif isinstance(node, ast.ImportFrom):
        module = imported_from(node, package)
        for alias in node.names:
            yield alias.asname or alias.name, Reference(f"{module}.{alias.name}")
    else:
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        for part in (part for target in targets if target for part in ast.walk(target)):
            if isinstance(part, ast.Name):
                yield part.id, node


def attributes(of: ast.ClassDef) -> dict[str, Meaning]:
    """What a class has by itself: its own names, and what its methods assign to `self`."""
    found: dict[str, Meaning] = {}
    for node in ast.walk(of):
        is_own = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_own and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            found[node.attr] = node
    for node in statements(of):
        found |= dict(bound_by(node, ""))
    return found


def dotted(node: ast.AST) -> str | None:
    """ "a.b.c" of such an expression, else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return before and f"{before}.{node.attr}"
    return None
