"""Fixtures for tests that need a host, and the markers, set by directory.

tests/core needs nothing; tests/comfy ComfyUI in this process; tests/server a running server;
tests/browser Chromium as well. The pack is never imported twice: tests of nodes use only what they
reach through the `comfyui` fixture, tests of the core import `ppap_core` and no node.
"""

import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from host.serve import ComfyServer, build_base_directory
from host.stand_ins import write_photograph
from host.tiny_guiders import write_named_guiders
from ppap_core.comfy_bridge import headless

TESTS = Path(__file__).parent
PACK_ROOT = TESTS.parent
EMULATED = find_spec("torch_mlu") is not None
KINDS = ("core", "comfy", "server", "browser")  # in this order: what fails early runs first
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # it reaches this machine alone
]


def kind_of(path: Path) -> str:
    """The directory below tests/ says what a test needs."""
    return path.relative_to(TESTS).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = kind_of(item.path)
        if kind not in KINDS:
            raise pytest.UsageError(f"{item.path}: tests belong in one of {', '.join(KINDS)}")
        if kind != "core":
            item.add_marker(kind)
    if EMULATED:  # what does not run ComfyUI in this process has nothing to do with it
        items[:] = [item for item in items if "comfyui" in item.fixturenames]
    items.sort(key=lambda item: KINDS.index(kind_of(item.path)))


@dataclass(frozen=True)
class ComfyUI:
    """The host in this process, with the pack loaded as ComfyUI loads it."""

    root: Path
    base: Path
    nodes: ModuleType  # ComfyUI's nodes.py
    pack: ModuleType
    before: dict[str, object]  # its functions and methods as they were without the pack

    def functions(self) -> dict[str, object]:
        """Those of ComfyUI as they are now."""
        return host_functions(self.root)

    def node(self, name: str) -> type:
        """The node class with this id, of the pack or of ComfyUI."""
        return self.nodes.NODE_CLASS_MAPPINGS[name]

    def module(self, name: str) -> ModuleType:
        """A module inside the pack, such as "ppap_core.experts": the copy that the nodes use."""
        return sys.modules[f"{self.pack.__name__}.{name}"]


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> ComfyUI:
    """The real ComfyUI in this process, on the CPU, with its own nodes and the pack.

    On the emulated device where that is on the path (tests/emulated_device).
    """
    base = tmp_path_factory.mktemp("comfyui")
    build_base_directory(base)
    model_paths = write_model_paths(base)
    if EMULATED:
        import torch_mlu  # noqa: F401  (ComfyUI would pass over what goes wrong in it)
    flags = ["--force-fp32"] if EMULATED else []
    root = headless.boot(cpu=not EMULATED, extra=["--base-directory", str(base), *flags])
    # In a thread: playwright, where a test has used it, keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        loaded = pool.submit(lambda: asyncio.run(load_pack(model_paths))).result()
    return ComfyUI(root, base, *loaded)


def write_model_paths(base: Path) -> Path:
    """An extra_model_paths.yaml that names folders of the user's own, base/more."""
    names = ("ppap_guiders", "ppap_experts", "ppap_pixel_models", "ppap_score_heads")
    lines = ["mine:", f"  base_path: {json.dumps(str(base / 'more'))}"]
    lines += [f"  {name}: {name}" for name in names]
    file = base / "extra_model_paths.yaml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def host_functions(root: Path) -> dict[str, object]:
    """Every function and method of the modules below `root` (ComfyUI's), by its full name."""
    found = {}
    for module in list(sys.modules.values()):
        if not (getattr(module, "__file__", None) or "").startswith(str(root)):
            continue
        for name, value in list(vars(module).items()):
            owned = vars(value).items() if isinstance(value, type) else ()
            for path, part in ((name, value), *((f"{name}.{key}", v) for key, v in owned)):
                if callable(part) or isinstance(part, staticmethod | classmethod | property):
                    found[f"{module.__name__}.{path}"] = part
    return found


async def load_pack(model_paths: Path) -> tuple[ModuleType, ModuleType, dict[str, object]]:
    """What ComfyUI's main.py does: model folders first, its own nodes next, then the pack."""
    from utils.extra_config import load_extra_path_config  # isort: skip (older hosts: before nodes)

    import nodes

    load_extra_path_config(str(model_paths))
    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
    before = host_functions(Path(nodes.__file__).parent)
    if not await nodes.load_custom_node(str(PACK_ROOT)):
        raise RuntimeError("ComfyUI could not load the pack; its log says why")
    return nodes, sys.modules[str(PACK_ROOT).replace(".", "_x_")], before


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """One ComfyUI server with the pack, and the tests' own nodes, for all tests."""
    base = tmp_path_factory.mktemp("server")
    prepare(base)
    with ComfyServer(base, cpu=True) as running:
        yield running


def prepare(base: Path) -> None:
    """The tests' own nodes, and small files under the names that the workflows load."""
    add_test_nodes(base / "custom_nodes")
    write_named_guiders(base / "models")
    write_photograph(base / "input")


@pytest.fixture
def prepare_server() -> Callable[[Path], None]:
    return prepare


def add_test_nodes(custom_nodes: Path) -> None:
    """Copies: ComfyUI has a package `tests` of its own, which hides this one."""
    for name in ("family_nodes", "renamed_nodes"):
        folder = custom_nodes / f"ppap_test_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(TESTS / "server" / f"{name}.py", folder / "__init__.py")
    tiny = custom_nodes / "ppap_test_family_nodes" / "tiny_checkpoints"
    shutil.copytree(PACK_ROOT / "host" / "tiny_checkpoints", tiny, dirs_exist_ok=True)
    shutil.copytree(TESTS / "example_pack", custom_nodes / "example_pack", dirs_exist_ok=True)


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system on which no symbolic links can be made."""

    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)


@pytest.fixture
def empty_comfyui() -> Callable[[Path], Path]:
    """Makes a folder that has the files by which ComfyUI is recognised, all empty."""

    def make(folder: Path) -> Path:
        (folder / "comfy").mkdir(parents=True)
        for name in ("main.py", "nodes.py", "comfy/cli_args.py"):
            (folder / name).touch()
        return folder

    return make


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=BROWSER_FLAGS)
        yield chromium.new_context(viewport={"width": 1600, "height": 1000})  # with one cache
        chromium.close()


@contextmanager
def front_end(browser, url: str):
    """ComfyUI's front end on a page of its own, as on a first visit, ready for `window.app`."""
    page = browser.new_page()
    page.goto(f"{url}/system_stats")
    page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
    page.goto(url)
    page.wait_for_function(
        "() => window.app && window.app.graph && window.app.extensionManager", timeout=120_000
    )
    page.wait_for_timeout(2000)  # the default workflow comes in after that
    yield page
    page.close()


@pytest.fixture
def comfyui_page(browser, server: ComfyServer):
    with front_end(browser, server.url) as page:
        yield page


@pytest.fixture(scope="module")
def shared_page(browser, server: ComfyServer):
    """One page for all tests of a file."""
    with front_end(browser, server.url) as page:
        yield page
