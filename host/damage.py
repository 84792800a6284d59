"""Ways in which files go wrong: one damaged place, chosen by a random generator.

Every function takes contents and a generator and returns the damaged contents.
"""

import copy
import json
import random

import torch
from safetensors.torch import load, save

from ppap_core.expert_file import hash_tensors

NESTED = json.loads("[" * 200 + "]" * 200)
JUNK = (
    None,
    True,
    -1,
    0,
    1,
    3,
    10**9,
    10**30,
    -(10**30),
    1e300,
    float("inf"),
    float("nan"),
    "",
    "..",
    "../../../../etc/passwd",
    "C:\\Windows",
    "a/b",
    "\0",
    "x" * 100_000,
    [],
    {},
    [[]],
    NESTED,
    ["a"] * 1000,
    {"auto_map": {}},
    "trust_remote_code",
    "\ud800",
)


def mutate_json(value, generator: random.Random):
    """A copy in which one place, anywhere, is deleted or replaced."""
    top = [copy.deepcopy(value)]
    holder, key = top, 0
    while isinstance(holder[key], dict | list) and holder[key] and generator.random() < 0.75:
        holder = holder[key]
        key = generator.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    old = holder[key]
    if holder is not top and generator.random() < 0.2:
        del holder[key]
    elif isinstance(old, int | float) and generator.random() < 0.2:
        holder[key] = old * generator.choice((-1, 0, 2, 1000, 10**7, 0.5))
    else:
        holder[key] = generator.choice(JUNK)
    return top[0]


def mutate_bytes(data: bytes, generator: random.Random) -> bytes:
    kind = generator.randrange(4)
    if kind == 0:
        return data[: generator.randrange(len(data))]
    if kind == 1:
        return data + generator.randbytes(generator.randrange(1, 2000))
    changed = bytearray(data)
    reach = len(data) if kind == 2 else min(len(data), 4096)
    for _ in range(generator.randrange(1, 20)):
        changed[generator.randrange(reach)] = generator.randrange(256)
    return bytes(changed)


def split_header(data: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_header(header: object, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def mutate_length(data: bytes, generator: random.Random) -> bytes:
    inside = generator.randrange(len(data))
    length = generator.choice((0, 1, 2**31, 2**40, 2**63, 2**64 - 1, inside))
    return length.to_bytes(8, "little") + data[8:]


def mutate_index(data: bytes, generator: random.Random) -> bytes:
    """Damage the names, types, shapes or offsets of tensors."""
    header, rest = split_header(data)
    return join_header(mutate_json(header, generator), rest)


def mutate_metadata(data: bytes, generator: random.Random) -> bytes:
    """Damage the header's metadata, whose values hold JSON of their own."""
    header, rest = split_header(data)
    metadata = header.get("__metadata__") or {"format": "pt"}
    key = generator.choice(sorted(metadata))
    try:
        metadata[key] = json.dumps(mutate_json(json.loads(metadata[key]), generator))
    except json.JSONDecodeError:
        metadata[key] = str(generator.choice(JUNK)).replace("\ud800", "?")
    return join_header(header | {"__metadata__": metadata}, rest)


def mutate_tensors(data: bytes, generator: random.Random) -> bytes:
    """Replace a tensor by another, with a checksum that agrees."""
    header, _ = split_header(data)
    tensors = load(data)
    name = generator.choice(sorted(tensors))
    old = tensors[name]
    tensors[name] = generator.choice(
        (
            lambda: torch.zeros(0),
            lambda: torch.zeros(()),
            lambda: old.flatten(),
            lambda: old.double() * 1e30,
            lambda: old.to(torch.int8),
            lambda: old.bool(),
            lambda: torch.full_like(old, float("nan")) if old.is_floating_point() else old + 1,
            lambda: torch.randn(7, 3),
            lambda: old.repeat(2, *[1] * (old.ndim - 1)) if old.ndim else old,
        )
    )().contiguous()
    if generator.random() < 0.2:
        new = generator.choice(("experts.0.x", "experts.9.y", "other", name + ".z"))
        tensors[new] = torch.ones(2)
    metadata = header.get("__metadata__") or {}
    if "modelspec.hash_sha256" in metadata:
        metadata["modelspec.hash_sha256"] = hash_tensors(tensors)
    return save(tensors, metadata)


OF_SAFETENSORS = (mutate_bytes, mutate_length, mutate_index, mutate_metadata, mutate_tensors)
