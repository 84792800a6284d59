"""Add Score Head and Target Score: one number about the picture, such as how it looks to people."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.folders import SCORE_HEADS, file_names, file_path
from ..ppap_core.comfy_bridge.sockets import read_image
from ..ppap_core.guiders import add_score_head, describe
from ..ppap_core.guiders.score_head import ACTIVATIONS, AUTO
from ..ppap_core.targets.embedding_target import EmbeddingTarget
from ..ppap_core.targets.score_target import ScoreTarget
from .numbers import read_numbers
from .pictures import ask_about_all
from .shown import shows_text, text_on_node
from .sockets import expect_score, expect_task
from .types import CATEGORY, GuiderSocket, TargetSocket

SEARCH_ALIASES = ["aesthetic", "score", "reward", "quality", "predictor", "LAION", "guide", "PPAP"]
RAISE, LOWER = "raise", "lower"
WISHED = (
    "the widget wished takes a finite number, such as 6.5, or one for each picture of the batch; "
    "empty is no end"
)


class AddScoreHead(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_AddScoreHead",
            display_name="Add Score Head",
            category=CATEGORY,
            description="Turns a CLIP, SigLIP or DINO into a guider of a score, such as LAION's "
            "aesthetic predictor, by a small file that reads its embedding.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider",
                    tooltip="The CLIP, SigLIP or DINO that the head was trained on. If it has "
                    "experts, they serve the score too.",
                ),
                io.Combo.Input(
                    "head",
                    options=file_names(SCORE_HEADS),
                    tooltip="A file in models/ppap_score_heads: linear layers as safetensors. "
                    "Pickles (.pth, .bin, .pt) are refused, with what to do instead.",
                ),
                io.Combo.Input(
                    "activation",
                    options=[AUTO, *ACTIVATIONS],
                    optional=True,
                    advanced=True,
                    tooltip="What lies between the head's layers. auto: what its header or its "
                    "name says, else none, as in LAION's predictors.",
                ),
            ],
            outputs=[
                GuiderSocket.Output(display_name="guider"),
                io.String.Output(
                    display_name="info", tooltip="The guider's card, as the node shows it."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, head, **_) -> int:
        return file_path(SCORE_HEADS, head).stat().st_mtime_ns

    @classmethod
    def execute(cls, guider, head, activation=AUTO) -> io.NodeOutput:
        expect_task(guider, cls, EmbeddingTarget.task)
        scored = add_score_head(guider.guider, file_path(SCORE_HEADS, head), activation)
        card = describe(scored)
        return io.NodeOutput(guider.with_guider(scored), card, ui=text_on_node(card))


class TargetScore(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_TargetScore",
            display_name="Target Score",
            category=CATEGORY,
            description="Raises or lowers a guider's score of the picture, until it is as wished.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider",
                    tooltip="A guider that answers with one score: that of Add Score Head, or a "
                    "regression model.",
                ),
                io.Combo.Input(
                    "direction",
                    options=[RAISE, LOWER],
                    tooltip="raise: a higher score. lower: a lower one.",
                ),
                io.String.Input(
                    "wished",
                    default="",
                    placeholder="such as 6.5; empty: no end",
                    tooltip="The score at which the push stops, in the guider's own unit. One for "
                    "all pictures, or one for each picture of the batch, separated by commas. "
                    "Empty: no end, and pictures may come to fool the guider.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Pictures whose scores the node shows, so that you know the unit. They "
                    "change nothing.",
                ),
            ],
            outputs=[
                TargetSocket.Output(display_name="target"),
                io.String.Output(
                    display_name="info",
                    tooltip="What is asked for, and the scores of image: as the node shows it.",
                ),
            ],
        )

    @classmethod
    def execute(cls, guider, direction, wished="", image=None) -> io.NodeOutput:
        expect_score(guider, cls)
        info = guider.guider.info
        ends = read_numbers(wished, float, WISHED)
        target = ScoreTarget(tuple(ends), direction == RAISE, info.fingerprint)
        scores = [] if image is None else ask_about_all(guider, read_image(image))
        text = target.describe(info.labels[0], [float(score) for score in scores])
        return io.NodeOutput(target, text, ui=text_on_node(text))
