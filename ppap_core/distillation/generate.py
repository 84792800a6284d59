"""Generate a folder of training pictures with the user's own checkpoint.

Pictures come in aligned batches: batch k holds the seeds from seed + k * batch_size on. So any
process can sample a batch again exactly, and an interrupted run resumes where it stopped. Where a
batch takes minutes, or more memory than there is, it is sampled and kept in parts; source.json
tells how large they are. A batch is written while the next one is sampled.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import SettingError, one_line
from ..out_of_memory import is_out_of_memory
from ..text_files import read_text
from .declaration import LARGEST_SEED, check_settings, setting
from .images import (
    SOURCE,
    check_source,
    read_manifest,
    read_source,
    write_source,
)
from .pictures import Pictures, save_batch
from .workers import barrier, rank, world_size

NUM_ESTIMATES = 5
LONGEST = 60.0  # seconds of sampling that a power cut may cost, as long as it is above one picture
DECIDE_PICTURES = (
    *("width", "height", "steps", "cfg"),
    *("sampler_name", "scheduler", "seed", "prompts"),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GenerateSettings:
    """How training pictures are sampled. Without a file of prompts all prompts are empty."""

    num_images: int = setting(5000, "pictures to generate", at_least=1, at_most=10_000_000)
    width: int = setting(0, "picture width; 0 takes the usual one for the model", at_least=0)
    height: int = setting(0, "picture height; 0 takes the usual one for the model", at_least=0)
    steps: int = setting(10, "sampling steps of each picture; few will do", at_least=1)
    cfg: float = setting(
        1.0, "classifier-free guidance while sampling; 1 is off", at_least=0, at_most=1000
    )
    sampler_name: str = setting(
        "ddim", "ComfyUI's name of the sampler; estimates teach most of one that adds no noise"
    )
    scheduler: str = setting("ddim_uniform", "ComfyUI's name of the scheduler")
    batch_size: int = setting(50, "pictures sampled at once", at_least=1)
    seed: int = setting(
        0, "seed of the first picture; the next ones count up", at_least=0, at_most=LARGEST_SEED
    )
    num_estimates: int = setting(
        NUM_ESTIMATES, "estimates of each picture that are kept, for experts on x0_hat", at_least=0
    )
    prompts: str = setting("", "file with a prompt in each line; every picture gets a random one")

    def __post_init__(self):
        check_settings(self)
        if self.prompts and not Path(self.prompts).is_file():
            raise SettingError(f"there is no prompt file {self.prompts}", "prompts")

    def read_prompts(self) -> list[str]:
        """Every line of the prompt file that is not blank; the empty prompt without a file.

        SettingError if it is no text, or has no prompt.
        """
        try:
            text = read_text(Path(self.prompts)) if self.prompts else ""
        except ValueError as error:
            raise SettingError(str(error), "prompts") from None
        prompts = [line.strip() for line in text.splitlines() if line.strip()]
        if self.prompts and not prompts:
            raise SettingError(f"the prompt file {self.prompts} is empty", "prompts")
        return prompts or [""]


def settings_of(folder: Path, default: GenerateSettings) -> GenerateSettings:
    """How the pictures in `folder` were sampled, if it says so; with the empty prompt."""
    stored = read_source(folder).get("settings", asdict(default))
    try:
        return GenerateSettings(**stored | {"prompts": ""})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the settings in {folder / SOURCE} are damaged ({one_line(error)}): delete the file, "
            f"or generate the pictures again"
        ) from None


# (seeds, one prompt for each) -> pictures
SamplePictures = Callable[[list[int], list[str]], Pictures]


def prompt_for(seed: int, prompts: list[str]) -> str:
    """A random prompt, always the same for a seed."""
    return prompts[random.Random(seed).randrange(len(prompts))]


class TooSlow(Exception):
    """A sampler gives up a batch that would take longer than LONGEST: `at_once` would not."""

    def __init__(self, num: int, seconds: float):
        """`seconds`: how long `num` pictures would take."""
        self.at_once = _power_of_two(min(num - 1, int(num * LONGEST / seconds)))


def _power_of_two(most: int) -> int:
    """As many pictures at once: seldom other ones the next time."""
    return 1 << (max(1, most).bit_length() - 1)


def missing_batches(settings: GenerateSettings, folder: Path) -> Iterator[list[int]]:
    """Seeds of the batches that are not in the manifest yet, this process' share of them."""
    done = {line.get("seed") for line in read_manifest(folder)}
    last = settings.seed + settings.num_images
    starts = range(settings.seed, last, settings.batch_size)
    batches = [list(range(start, min(start + settings.batch_size, last))) for start in starts]
    mine = [batch for batch in batches if not done.issuperset(batch)][rank() :: world_size()]
    yield from _parts(mine, read_source(folder).get("at_once", settings.batch_size), done)


def _parts(batches: list[list[int]], at_once: int, done: set) -> list[list[int]]:
    """Batches in parts of `at_once` seeds, without those parts that are done."""
    parts = [b[i : i + at_once] for b in batches for i in range(0, len(b), at_once)]
    return [part for part in parts if not done.issuperset(part)]


def generate(
    sample: SamplePictures,
    settings: GenerateSettings,
    folder: Path,
    source: dict,
    *,
    force: bool = False,
    watch: Callable[[int], None] = lambda num: None,
) -> None:
    """Sample what `folder` lacks. `source`: {"checkpoint", "fingerprint", "latent_format", ...}.

    ValueError if the pictures in it are another checkpoint's, or were sampled with other settings,
    unless forced.
    """
    check_pictures(folder, settings, source["fingerprint"], force)
    prompts = settings.read_prompts()
    stored = read_source(folder)
    batches = list(missing_batches(settings, folder))
    is_new = not stored or not read_manifest(folder)
    barrier()  # every process has looked before one begins to write
    if rank() == 0 and (is_new or (force and batches)):
        write_source(folder, {**source, "settings": asdict(settings)})
    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(lambda: None)
        while batches:
            seeds = batches.pop(0)
            chosen = [prompt_for(seed, prompts) for seed in seeds]
            begin = time.monotonic()
            try:
                pictures = sample(seeds, chosen)
            except (TooSlow, RuntimeError, MemoryError) as error:
                at_once = _fewer(error, len(seeds))
                batches = _in_smaller_parts([seeds, *batches], at_once, folder)
                continue
            seconds = time.monotonic() - begin
            written.result()  # raises what went wrong
            written = writer.submit(save_batch, pictures, seeds, chosen, settings, folder, source)
            watch(len(seeds))
            if seconds > 2 * LONGEST and len(seeds) > 1:
                batches = _in_smaller_parts(batches, TooSlow(len(seeds), seconds).at_once, folder)
        written.result()
    barrier()


def _fewer(error: Exception, num: int) -> int:
    """How many pictures to sample at once after `error`, which is raised if fewer do not help."""
    if isinstance(error, TooSlow):
        at_once, why = error.at_once, "more would take minutes"
    elif num > 1 and is_out_of_memory(error):
        at_once, why = _power_of_two(num // 2), "there is no memory for more"
    else:
        raise error
    log.warning("pictures are sampled and kept %d at a time: %s", at_once, why)
    return at_once


def _in_smaller_parts(batches: list[list[int]], at_once: int, folder: Path) -> list[list[int]]:
    """`batches` anew; the next process finds how large the parts are."""
    if rank() == 0:
        write_source(folder, {**read_source(folder), "at_once": at_once})
    return _parts(batches, at_once, set())


def check_pictures(
    folder: Path, settings: GenerateSettings, fingerprint: str, force: bool = False
) -> None:
    """SettingError if the pictures in `folder` are another checkpoint's, or were sampled with other
    settings, unless forced. Touches nothing.
    """
    check_source(folder, fingerprint, force)
    if not force and read_manifest(folder):
        check_sampled_alike(folder, read_source(folder).get("settings", {}), settings)


def check_sampled_alike(folder: Path, stored: dict, settings: GenerateSettings) -> None:
    """SettingError if a setting that decides how pictures look is not the stored one."""
    for name in DECIDE_PICTURES:
        asked = getattr(settings, name)
        if stored.get(name, asked) != asked:
            raise SettingError(
                f"the pictures in {folder} were sampled with {name} {stored[name]!r}, now it is "
                f"{asked!r}",
                **{name: "use the old value", "name": "choose another name"},
                images="choose another folder",
                force="force the use of this one",
            )
