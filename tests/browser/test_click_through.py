"""What a person does: find things by typing, open a template, run it, read the help, err."""

from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError

from host.workflows import ALL_SHOWN
from tests.slow import slow

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
LISTEN = """() => {
  window.seen = { steps: 0, texts: [] };
  app.api.addEventListener('progress_state', () => seen.steps++);
  app.api.addEventListener('progress_text', e => seen.texts.push(e.detail.text));
}"""
SET = """([type, widget, value]) => {
  app.graph.nodes.find(n => n.type === type).widgets.find(w => w.name === widget).value = value;
}"""
SHOWN = """type => app.graph.nodes.find(n => n.type === type).widgets
  .find(w => w.name === '$$node-text-preview')?.value ?? ''"""
SELECT = "type => app.canvas.selectNode(app.graph.nodes.find(n => n.type === type))"
BLUEPRINTS = {  # by the words that people type
    "depth from a reference": "Guide with depth from a reference picture",
    "guide with a class": "Guide with a class",
    "segmentation map": "Guide with a segmentation map",
}
USE_BLUEPRINT = """async () => {
  const make = type => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    return node;
  };
  const link = (from, output, to, input) => from.connect(
    from.outputs.findIndex(o => o.name === output), to, to.inputs.findIndex(i => i.name === input));
  const set = (node, values) => Object.entries(values).forEach(
    ([name, value]) => { node.widgets.find(w => w.name === name).value = value; });
  const blueprint = app.graph.nodes[0];
  const model = make('PPAP_LoadPixelModel'), latent = make('EmptyLatentImage');
  const vae = make('VAELoader'), decode = make('VAEDecode'), show = make('PreviewImage');
  const picture = make('EmptyImage'), sampler = make('KSampler');
  set(latent, { width: 32, height: 32 });
  set(picture, { width: 32, height: 32, color: 0x06e6e6 });  // sky in ADE20K
  set(vae, { vae_name: 'pixel_space' });
  set(sampler, { steps: 4, cfg: 1 });
  link(model, 'model', blueprint, 'model');
  if (blueprint.inputs.some(i => i.name === 'image')) link(picture, 'IMAGE', blueprint, 'image');
  link(blueprint, 'model', sampler, 'model');
  link(model, 'unconditional', sampler, 'positive');
  link(model, 'unconditional', sampler, 'negative');
  link(latent, 'LATENT', sampler, 'latent_image');
  link(sampler, 'LATENT', decode, 'samples');
  link(vae, 'VAE', decode, 'vae');
  link(decode, 'IMAGE', show, 'images');
  await app.queuePrompt(0, 1);
}"""


@pytest.fixture
def picture_of(comfyui_page, request):
    """Whatever a test has come to is kept for people to look at."""
    yield comfyui_page
    ARTIFACTS.mkdir(exist_ok=True)
    comfyui_page.screenshot(path=ARTIFACTS / f"{request.node.name}.png")


def open_template(page, name: str) -> None:
    page.wait_for_timeout(1000)
    if not page.get_by_test_id("template-workflows-content").is_visible():  # a first visit opens it
        page.get_by_text("Templates", exact=True).first.click()
    page.get_by_text("comfyui-ppap").first.click()
    page.get_by_test_id(f"template-workflow-{name}").click()
    page.wait_for_function("() => app.graph.nodes.some(n => n.type === 'PPAP_LoadGuider')")
    page.wait_for_timeout(1000)


def test_template_can_be_opened_run_and_reported_in_the_browser(picture_of):
    page = picture_of
    open_template(page, "19 Demo strength and report")
    page.evaluate(SET, ["PPAP_TargetClass", "classes", "torus"])
    page.evaluate(SET, ["PPAP_ScaleSweep", "strengths", "0, 1"])
    page.evaluate(LISTEN)
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(ALL_SHOWN, timeout=240_000)
    seen = page.evaluate("() => seen")
    assert seen["steps"] > 25
    live = [text for text in seen["texts"] if "% sure of torus" in text]
    assert len(live) > 25 and "guided 25 of 25 steps" in live[-1]
    report = page.evaluate(
        "() => JSON.stringify(app.nodeOutputs[app.graph.nodes.find("
        "n => n.type === 'PPAP_GuidanceReport').id])"
    )
    assert "sure of torus, now" in report and "guided 25 of 25 steps" in report
    card = page.evaluate(SHOWN, "PPAP_LoadGuider")
    assert "10 classes, exactly one of them is right" in card
    assert "guided 25 of 25 steps" in page.evaluate(SHOWN, "PPAP_GuidanceReport")


def test_a_guided_picture_on_ones_own_checkpoint_takes_seven_actions(picture_of):
    """From an empty graph, on a tiny SD1.5; three of them make the picture small."""
    page = picture_of
    open_template(page, "01 Your own checkpoint")  # templates, the pack, the template
    page.evaluate(SET, ["EmptyLatentImage", "width", 64])
    page.evaluate(SET, ["EmptyLatentImage", "height", 64])
    page.evaluate(SET, ["PPAP_GuidedKSampler", "steps", 4])
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(ALL_SHOWN, timeout=240_000)
    told = page.evaluate(SHOWN, "PPAP_GuidedKSampler")
    assert "sure of golden retriever" in told and "guided 4 of 4 steps" in told
    page.reload()  # the words are shown again where nothing has to run
    page.wait_for_function("() => window.app?.graph?.nodes.some(n => n.type === 'PPAP_LoadGuider')")
    page.wait_for_timeout(2000)
    assert not page.evaluate(SHOWN, "PPAP_GuidedKSampler")
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(f"type => ({SHOWN})(type)", arg="PPAP_GuidedKSampler", timeout=60_000)
    assert page.evaluate(SHOWN, "PPAP_GuidedKSampler") == told


def test_help_opens_beside_the_graph(picture_of):
    page = picture_of
    open_template(page, "13 Demo class guidance")
    page.evaluate(SELECT, "PPAP_GuidedKSampler")
    page.get_by_test_id("info-button").click()
    page.get_by_text("KSampler and PPAP Apply Guidance in one").wait_for()
    picture = page.locator("img[src*='PPAP_GuidedKSampler']")
    picture.wait_for()
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 100


def test_a_missing_expert_file_is_named(picture_of):
    page = picture_of
    open_template(page, "13 Demo class guidance")
    page.evaluate(SET, ["PPAP_LoadExperts", "experts", "nowhere.safetensors"])
    page.get_by_test_id("queue-button").click()
    page.get_by_text("nowhere.safetensors for Load PPAP Experts").wait_for()


def search_nodes(page, words):
    """Double-click the canvas, again if nothing opens; type once the box has the focus."""
    box = page.locator("input:focus")
    for _ in range(10):
        page.evaluate("() => app.graph.clear()")  # a default workflow may still come in
        page.mouse.dblclick(800, 450)
        with suppress(TimeoutError):
            box.wait_for(timeout=3000)
            break
        page.keyboard.press("Escape")
    box.press_sequentially(words)


def test_nodes_are_found_by_the_words_people_type(picture_of):
    page = picture_of
    for words in ("guide", "classifier", "depth", "segmentation", "mask", "strength", "distill"):
        search_nodes(page, words)
        page.get_by_text("PPAP").first.wait_for()
        page.keyboard.press("Escape")
        page.locator("input:focus").wait_for(state="hidden")


@pytest.mark.parametrize(
    "words",
    ["depth from a reference", slow("guide with a class"), slow("segmentation map")],
)
def test_a_blueprint_is_found_by_typing_and_guides(picture_of, words):
    page, name = picture_of, BLUEPRINTS[words]
    search_nodes(page, words)
    page.get_by_text(name).first.click()
    page.locator("input:focus").wait_for(state="hidden")
    page.mouse.click(500, 600)
    page.wait_for_function("() => app.graph.nodes.length === 1")
    assert page.evaluate("() => app.graph.nodes[0].title") == name
    page.evaluate(LISTEN)
    page.evaluate(USE_BLUEPRINT)
    page.wait_for_function(
        "() => seen.texts.at(-1)?.includes('guided 4 of 4 steps')", timeout=120_000
    )
    page.wait_for_function(ALL_SHOWN, timeout=120_000)
