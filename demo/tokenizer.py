"""A tokenizer of a few words, in the files that transformers loads."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<start>", "<unknown>", "<end>")
# Their numbers. An end of 2 would make transformers' CLIP read the embedding at the token of the
# highest number, as OpenAI's first configurations need it, and miss all words behind that.
PAD, START, UNKNOWN, END = range(len(SPECIAL))


def build_tokenizer(words: Iterable[str], longest: int) -> PreTrainedTokenizerFast:
    """One token for each of `words`, between a start and an end; at most `longest` together."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *dict.fromkeys(words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    start, end = ((SPECIAL[i], i) for i in (START, END))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start[0]} $A {end[0]}", special_tokens=[start, end]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=longest,
        **{"pad_token": SPECIAL[PAD], "bos_token": SPECIAL[START], "eos_token": SPECIAL[END]},
        unk_token=SPECIAL[UNKNOWN],
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """For every release of transformers: the name that 5 writes into the settings is new."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text("utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
