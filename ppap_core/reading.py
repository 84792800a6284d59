"""What a guider reads of a diffusion model's state."""

from dataclasses import dataclass

INPUTS = ("x_t", "x0_hat")
AUTO = "auto"
VIEWS = (AUTO, "identity", "linear_rgb", "taesd", "vae")  # built in comfy_bridge/views.py


@dataclass(frozen=True)
class Reading:
    """`input`: the noisy state (x_t) or the model's estimate of the clean one (x0_hat). `view`: the
    name of the map from states to images (comfy_bridge/views.py). "auto" leaves either open.
    """

    input: str = AUTO
    view: str = AUTO

    def __post_init__(self):
        if self.input not in (AUTO, *INPUTS):
            raise ValueError(
                f"the guider's input is auto or one of {', '.join(INPUTS)}, got {self.input!r}"
            )
        if self.view not in VIEWS:
            raise ValueError(f"view is one of {', '.join(VIEWS)}, got {self.view!r}")

    def or_else(self, other: "Reading") -> "Reading":
        """This reading, with `other`'s choice wherever this one leaves it open."""
        return Reading(
            input=other.input if self.input == AUTO else self.input,
            view=other.view if self.view == AUTO else self.view,
        )


OPEN = Reading()
