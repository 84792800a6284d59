"""How soon guidance of a model of full size stops, and what memory a session with it keeps.

`python -m evidence.full_size_session` guides SD1.5 at 256 pixels (x0_hat, taesd) and writes
docs/evidence/full_size_session.csv, and its table into full_size.md. The cancel button is pressed
at five moments of each phase of a step; `seconds` and `steps` are the most that passed until the
sampling had ended. The process's memory (a GPU's, where there is one) is told after prompts, after
everything is unloaded (what ComfyUI's /free does), and after the graph has let go of the model.
"""

import argparse
import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import psutil
import torch

from evidence.flags import add_device, add_output, is_cpu
from evidence.full_size import Case, forget_parts, load_asking, load_parts, prepare, say
from evidence.full_size_page import SESSION, write_page
from evidence.full_size_step import device_name, is_on_gpu
from evidence.tables import write_csv
from ppap_core.comfy_bridge.headless import boot

CASE, PROMPTS = Case(size="256"), 10
MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of a phase
PHASES = ("the model", "the decoder, forwards", "the decoder, backwards")
Enter = Callable[[str], None]


def prompt(seed: int, steps: int = 1, callback: Callable | None = None) -> None:
    """What a queued prompt runs: guidance is set up anew, then a few steps are sampled."""
    from ppap_core.comfy_bridge.sampling import sample_seeds

    guided, nothing, shape = prepare(CASE)
    settings = {"steps": steps, "cfg": CASE.cfg, "sampler_name": "euler", "scheduler": "simple"}
    prompts = {"positive": nothing, "negative": nothing}
    with torch.inference_mode():
        sample_seeds(guided, [seed], shape, **settings, **prompts, callback=callback)


@contextmanager
def phases(enter: Enter) -> Iterator[None]:
    """Inside, `enter` is called with the name of a phase as it begins, and with "" as it ends."""
    from ppap_core.comfy_bridge.decoders import Decoder

    network, decode = load_parts(CASE.model)[0].model.diffusion_model, Decoder.__call__

    def watched(self, latent, *args):
        enter(PHASES[1])
        if latent.requires_grad:
            latent.register_hook(lambda _: enter(""))
        picture = decode(self, latent, *args)
        enter("")
        if picture.requires_grad:
            picture.register_hook(lambda _: enter(PHASES[2]))
        return picture

    hooks = [
        network.register_forward_pre_hook(lambda *_: enter(PHASES[0])),
        network.register_forward_hook(lambda *_: enter("")),
    ]
    try:
        with patch.object(Decoder, "__call__", watched):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def durations() -> dict[str, float]:
    """Seconds of each phase in a prompt that nobody cancels: of its last step."""
    found, begun = {}, []

    def enter(name: str) -> None:
        now = time.perf_counter()
        if begun and begun[-1][0]:
            last, start = begun[-1]
            found[last] = now - start
        begun.append((name, now))

    with phases(enter):
        prompt(0, steps=2)
    return found


def cancel(phase: str, after: float) -> tuple[float, int]:
    """Seconds and steps from the press, `after` seconds of `phase`, to the end of the sampling."""
    import comfy.model_management as management

    pressed, steps, timers = [], [], []

    def press() -> None:
        pressed.append((time.perf_counter(), len(steps)))
        management.interrupt_current_processing()

    def enter(name: str) -> None:
        if name == phase and not timers:
            timers.append(threading.Timer(after, press))
            timers[0].start()

    try:
        with phases(enter):
            prompt(0, steps=2, callback=lambda *_: steps.append(1))
    except management.InterruptProcessingException:
        pass
    end = time.perf_counter()
    management.interrupt_current_processing(False)
    return end - pressed[0][0], len(steps) - pressed[0][1]


def held() -> int:
    """Bytes of memory that the process has, or that PyTorch has on the GPU."""
    gc.collect()
    if sys.platform == "linux":  # where the process keeps what was freed, until it is told
        ctypes.CDLL(None).malloc_trim(0)
    return torch.cuda.memory_allocated() if is_on_gpu() else psutil.Process().memory_info().rss


def stops() -> Iterator[tuple[str, float, str]]:
    """Of each phase: what was measured, the figure, and its unit."""
    for phase, lasts in durations().items():
        yield f"{phase}: one pass", lasts, "seconds"
        found = [cancel(phase, moment * lasts) for moment in MOMENTS]
        yield f"{phase}: cancelled", max(seconds for seconds, _ in found), "seconds"
        yield f"{phase}: cancelled", max(steps for _, steps in found), "steps"


def memory() -> Iterator[tuple[str, float, str]]:
    """What prompts leave behind, as `stops` tells it."""
    import comfy.model_management

    load_asking(CASE.guider)  # with the libraries that it needs
    start = held()
    prompt(0)
    first = held()
    yield "memory after the first prompt", (first - start) / 1e9, "GB"
    for seed in range(1, PROMPTS):
        prompt(seed)
    yield f"memory after prompt {PROMPTS}, beyond the first's", (held() - first) / 1e9, "GB"
    comfy.model_management.unload_all_models()
    yield "memory after unloading everything", (held() - start) / 1e9, "GB"
    forget_parts()
    yield "memory after the graph let go of the model as well", (held() - start) / 1e9, "GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_device(parser)
    add_output(parser)
    args = parser.parse_args()
    boot(cpu=is_cpu(args.device))
    where = {"model": CASE.model, "size": CASE.size, "device": device_name()}
    rows = []
    for measure in (memory, stops):
        for what, value, unit in measure():
            rows.append(where | {"measure": what, "value": value, "unit": unit})
            say(f"{what}: {value:.3f} {unit}")
    write_csv(rows, args.output / SESSION)
    write_page(args.output)


if __name__ == "__main__":
    main()
