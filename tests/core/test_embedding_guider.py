"""CLIP, SigLIP and DINO as guiders, against transformers' own models and processors."""

import json

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from demo.tokenizer import build_tokenizer
from ppap_core.guiders import describe, load_guider
from ppap_core.targets.embedding_lines import build_embedding_target
from tests.core.tiny_guiders import EMBEDDING, embedding_folder

TEXTS = ["a red cone", "the blue cube on a floor"]
SIDES = (40, 52)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("embedding")
    return {name: embedding_folder(root / name, name) for name in EMBEDDING}


def pictures(num=2):
    """uint8 (num, 3, *SIDES), smooth: the library's processors round when they resize."""
    rows, columns = (torch.linspace(0, 1, side) for side in SIDES)
    waves = [torch.sin(3 * (i + 1) * rows[:, None] + 4 * columns) for i in range(3 * num)]
    return ((torch.stack(waves) + 1) * 127.5).byte().view(num, 3, *SIDES)


def as_image(pixels):
    return pixels.float() / 127.5 - 1


def library_answer(folder, name, pixels, **words):
    """Of the whole model in transformers, to what its own image processor makes of `pixels`."""
    model = getattr(transformers, name).from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    shown = [Image.fromarray(one.movedim(0, -1).numpy()) for one in pixels]
    with torch.no_grad():
        return model(**processor(shown, return_tensors="pt"), **words)


def tokens(folder, texts):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = tokenizer(texts, padding="max_length", max_length=8, return_tensors="pt")
    return found["input_ids"], found["attention_mask"]


@pytest.mark.parametrize("name", ["CLIPModel", "SiglipModel"])
def test_log_likelihoods_are_the_librarys_own_logits(folders, name):
    """CLIP's logits_per_image; log sigmoid of SigLIP's."""
    guider = load_guider(folders[name])
    ids, mask = tokens(folders[name], TEXTS)
    given = {"attention_mask": mask} if name == "CLIPModel" else {}
    wanted = library_answer(folders[name], name, pictures(), input_ids=ids, **given)
    wanted = wanted.logits_per_image
    answer = guider(as_image(pictures()))
    for k, text in enumerate(TEXTS):
        target, _ = build_embedding_target(guider, text, "")
        logits = target.scale * target.cosines(answer)[:, 0] + (target.bias or 0)
        torch.testing.assert_close(logits, wanted[:, k], atol=0.05 * target.scale**0.5, rtol=0)
        found = target.log_likelihood(answer)
        judged = logits.sigmoid().log() if name == "SiglipModel" else logits
        torch.testing.assert_close(found, judged)


@pytest.mark.parametrize("name", EMBEDDING)
def test_embeddings_are_the_librarys_and_a_gradient_comes_through(folders, name):
    guider = load_guider(folders[name])
    given = {}
    if guider.words:
        given["input_ids"], _ = tokens(folders[name], TEXTS)
    answer = library_answer(folders[name], name, pictures(), **given)
    wanted = answer.image_embeds if "CLIP" in name or "Siglip" in name else answer.pooler_output
    image = as_image(pictures()).requires_grad_(True)
    found = guider(image)
    torch.testing.assert_close(found, torch.nn.functional.normalize(wanted), atol=0.01, rtol=0)
    target, _ = build_embedding_target(guider, "", "", found.detach().flip(0))
    (gradient,) = torch.autograd.grad(target.log_likelihood(found).sum(), image)
    assert gradient.isfinite().all() and (gradient.flatten(1).norm(dim=1) > 0).all()


def test_what_reads_words_is_not_kept(folders):
    guider = load_guider(folders["CLIPModel"])
    whole = transformers.CLIPModel.from_pretrained(folders["CLIPModel"])
    kept = sum(p.numel() for p in guider.parameters())
    of_words = [*whole.text_model.parameters(), *whole.text_projection.parameters()]
    assert kept == sum(p.numel() for p in whole.parameters()) - sum(map(torch.numel, of_words)) - 1
    assert "\nreads words of any kind too\n" in describe(guider)
    assert "words" not in describe(load_guider(folders["Dinov2Model"]))


def test_a_text_that_is_too_long_is_cut_and_told(folders):
    guider = load_guider(folders["CLIPModel"])
    target, info = build_embedding_target(guider, "a red cone on the green floor the cube:2", "")
    assert info.splitlines() == [
        'asks for "a red cone on the green floor the cube" (weight 2)',
        'too long, so only this is read: "a red cone on the green"',
    ]
    short, _ = build_embedding_target(guider, "a red cone on the green", "")
    torch.testing.assert_close(target.embeddings, short.embeddings)


def test_siglip_reads_words_in_lower_case(folders):
    read = load_guider(folders["SiglipModel"]).words.read
    one, other = (read([text]).embeddings for text in ("A Red Cone", "a red cone"))
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["Dinov2Model", "CLIPVisionModelWithProjection"])
def test_words_for_a_model_that_reads_none_are_refused(folders, name):
    line = rf"^transformers/{name} \({name}\) cannot read words: empty text and away_from and conn"
    with pytest.raises(ValueError, match=line):
        build_embedding_target(load_guider(folders[name]), "", "fog")


def test_a_folder_without_its_tokenizer_is_refused(folders, tmp_path):
    folder = embedding_folder(tmp_path / "clip", "CLIPModel")
    (folder / "tokenizer.json").unlink()
    line = r"^guider 'clip' cannot read words without its tokenizer: download tokenizer.json and"
    with pytest.raises(ValueError, match=line):
        build_embedding_target(load_guider(folder), "a red cone", "")


def test_a_tokenizer_of_another_model_is_refused(folders, tmp_path):
    folder = embedding_folder(tmp_path / "clip", "CLIPModel")
    build_tokenizer(map(str, range(40)), 8).save_pretrained(folder)
    line = "^guider 'clip' cannot read words: .*; look whether the folder's files belong together$"
    with pytest.raises(ValueError, match=line):
        build_embedding_target(load_guider(folder), "39", "")


def test_damaged_folders_are_refused_in_one_line(folders, tmp_path):
    folder = embedding_folder(tmp_path / "clip", "CLIPModel")
    weights = load_file(folder / "model.safetensors")
    scale = weights.pop("logit_scale")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="does not fit config.json: missing keys: logit_scale$"):
        load_guider(folder)
    save_file(weights | {"logit_scale": scale}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["architectures"] = ["Siglip2Model"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ValueError, match=r"as patches \(NaFlex\): choose a SigLIP 2 of one size"):
        load_guider(folder)


def test_places_that_old_files_hold_are_passed_over(folders, tmp_path):
    """OpenAI's CLIP on the hub has these buffers among its weights."""
    folder = embedding_folder(tmp_path / "clip", "CLIPModel")
    weights = load_file(folder / "model.safetensors")
    weights["text_model.embeddings.position_ids"] = torch.arange(8)[None]
    weights["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    image = as_image(pictures())
    torch.testing.assert_close(load_guider(folder)(image), load_guider(folders["CLIPModel"])(image))
