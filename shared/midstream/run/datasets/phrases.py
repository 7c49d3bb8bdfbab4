"""Sentences as sequences of embeddings: short reviews from a small grammar, good or bad."""

import torch
from torch import Tensor

from midstream.mathematics.seeds import generator
from midstream.run.datasets.examples import Dataset, Examples, Source

DIMENSIONS = 16
"""Numbers of an embedding."""

_NOUNS = ("film", "book", "play", "song", "meal", "hotel", "match", "speech")
_GOOD = ("good", "great", "lovely", "bright", "clever", "moving")
_BAD = ("bad", "poor", "dull", "weak", "clumsy", "boring")
_PLAIN = ("long", "short", "new", "old", "loud", "early")
_VERBS = ("was", "seemed", "felt", "stayed")
_DEGREES = ("very", "rather", "quite")
_ENDS = ("today", "again", "indeed", "then")
WORDS = ("the", "a", "not", *_NOUNS, *_GOOD, *_BAD, *_PLAIN, *_VERBS, *_DEGREES, *_ENDS)
"""The vocabulary."""

_TRAIN, _TEST = 1600, 400


def embeddings() -> Tensor:
    """Return the embedding of each word, `(words, 16)`, drawn from a fixed seed.

    Words of one list are near each other, as in a learned embedding: each is the centre of its list plus
    noise. Each embedding has length 1.
    """
    draws = generator(0, "phrases", "embeddings")
    found = []
    for words in (WORDS[:3], _NOUNS, _GOOD, _BAD, _PLAIN, _VERBS, _DEGREES, _ENDS):
        centre = torch.randn(DIMENSIONS, generator=draws)
        found.append(centre + 0.8 * torch.randn(len(words), DIMENSIONS, generator=draws))
    table = torch.cat(found)
    unit: Tensor = table / table.norm(dim=1, keepdim=True)
    return unit


def phrases(source: Source) -> Dataset:  # noqa: ARG001
    """Return 2,000 reviews of eight words as embeddings, `(8, 16)`, bad or good: 1,600 for training.

    A review is "the long film was not very good again". It is good if its last judgement is a good word, or a
    bad word that "not" turns round. Inputs may take any value: an embedding is no pixel.
    """
    draws = generator(0, "phrases", "sentences")
    table, place = embeddings(), {word: number for number, word in enumerate(WORDS)}
    made = [_sentence(draws) for _ in range(_TRAIN + _TEST)]
    tokens = torch.tensor([[place[word] for word in words] for words, _ in made])
    inputs, labels = table[tokens], torch.tensor([label for _, label in made])
    train, test = (Examples(inputs[part], labels[part]) for part in (slice(_TRAIN), slice(_TRAIN, None)))
    return Dataset(train, test, ("bad", "good"))


def _sentence(draws: torch.Generator) -> tuple[list[str], int]:
    def one(words: tuple[str, ...]) -> str:
        return words[int(torch.randint(len(words), (), generator=draws))]

    good, turned = (bool(torch.randint(2, (), generator=draws)) for _ in range(2))
    judgement = one(_GOOD if good else _BAD)
    middle = ["not", one(_DEGREES)] if turned else [one(_DEGREES), one(_DEGREES)]
    words = [one(("the", "a")), one(_PLAIN), one(_NOUNS), one(_VERBS), *middle, judgement, one(_ENDS)]
    return words, int(good != turned)
