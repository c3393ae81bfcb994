"""Writes the vectors of some sentences by all-MiniLM-L6-v2 in NumPy and float64: minilm.txt.

Needs NumPy only: the tokenizer and the network are written out here, so that they share nothing with ours.
usage: make_minilm.py FOLDER_OF_THE_MODEL
"""

import json
import math
import pathlib
import struct
import sys

import numpy

SENTENCES = [
    "A man is eating food.",
    "Someone has lunch.",
    "The girl carries a baby through the unbelievably crowded marketplace.",
    "Stock prices fell sharply on Tuesday!",
    "Hi",
]


def weights(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        start, stop = (8 + size + offset for offset in entry["data_offsets"])
        flat = numpy.frombuffer(data[start:stop], dtype="<f4").astype(numpy.float64)
        arrays[name] = flat.reshape(entry["shape"])
    return arrays


def tokens(sentence, vocabulary):
    words, word = [], ""
    for letter in sentence.lower():
        if letter.isalnum():
            word += letter
            continue
        if word:
            words.append(word)
        word = ""
        if not letter.isspace():
            words.append(letter)
    if word:
        words.append(word)
    ids = [vocabulary["[CLS]"]]
    for word in words:
        start = 0
        while start < len(word):
            stop = len(word)
            while ("##" if start else "") + word[start:stop] not in vocabulary:
                stop -= 1
            ids.append(vocabulary[("##" if start else "") + word[start:stop]])
            start = stop
    return ids + [vocabulary["[SEP]"]]


def normalized(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / numpy.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * weight + bias


def embed(ids, w, n_heads, n_layers):
    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        return normalized(x, w[f"{name}.weight"], w[f"{name}.bias"])

    n = len(ids)
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][:n] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    erf = numpy.vectorize(math.erf)
    for k in range(n_layers):
        at = f"encoder.layer.{k}"
        q, key, v = (linear(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        dim = q.shape[1] // n_heads
        mixed = numpy.zeros_like(q)
        for head in range(n_heads):
            part = slice(head * dim, (head + 1) * dim)
            scores = q[:, part] @ key[:, part].T / math.sqrt(dim)
            chances = numpy.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, part] = chances / chances.sum(-1, keepdims=True) @ v[:, part]
        x = norm(x + linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        wide = linear(x, f"{at}.intermediate.dense")
        wide = wide * (1 + erf(wide / math.sqrt(2))) / 2
        x = norm(x + linear(wide, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return mean / numpy.linalg.norm(mean)


def main():
    folder = pathlib.Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    names = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = {name: number for number, name in enumerate(names)}
    w = weights(folder / "model.safetensors")
    lines = []
    for sentence in SENTENCES:
        ids = tokens(sentence, vocabulary)
        vector = embed(ids, w, config["num_attention_heads"], config["num_hidden_layers"])
        lines.append(sentence)
        lines.append(" ".join(map(str, ids)))
        lines.append(" ".join(f"{value:.7f}" for value in vector))
    pathlib.Path(__file__).with_name("minilm.txt").write_text("\n".join(lines) + "\n")


main()
