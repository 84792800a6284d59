"""The core's public names under a name that does not depend on where this pack lies.

ComfyUI names a pack's modules after its folder, so other packs cannot know what to import.
"""

import sys
from types import ModuleType

NAME = "ppap_core"


def publish() -> None:
    """Lets other packs write `from ppap_core import register_task`.

    What they get is no package: `import ppap_core.tasks` would load this pack's files again, and
    what is registered there nobody would see. A package of this name that is there already (this
    repository on the path) stays.
    """
    if hasattr(sys.modules.get(NAME), "__path__"):
        return
    core = sys.modules[__package__.rpartition(".")[0]]
    public = ModuleType(NAME, core.__doc__)
    public.__all__, public.__getattr__ = core.__all__, core.__getattr__
    sys.modules[NAME] = public
