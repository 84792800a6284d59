"""A tokenizer of a few words, in the files that transformers loads."""

from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
PAD, START, END, UNKNOWN = range(len(SPECIAL))  # their numbers


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
