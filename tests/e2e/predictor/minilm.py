# SPDX-License-Identifier: Apache-2.0
"""all-MiniLM-L6-v2 in plain numpy: a sentence to 384 numbers of length 1.

The folder is as sentence-transformers keeps it: config.json, model.safetensors, vocab.txt, tokenizer_config.json,
sentence_bert_config.json. The weights are mapped, not read: pods that mount the same model share its pages. One sentence at a
time, so there is no padding and no mask.
"""
import json
import pathlib

import numpy

from wordpiece import WordPiece

DTYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
HEADER_MAX = 100 << 20


def read_safetensors(path):
    """{name: array}. The file: length of the header (8 bytes), the header (JSON), the tensors."""
    data = numpy.memmap(path, numpy.uint8, "r")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(HEADER_MAX, data.size - 8):
        raise ValueError(f"{path}: the header is longer than the file")
    header, body = json.loads(data[8:8 + length].tobytes()), data[8 + length:]
    header.pop("__metadata__", None)
    return {name: read_tensor(body, path, name, entry) for name, entry in header.items()}


def read_tensor(body, path, name, entry):
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= body.size:
        raise ValueError(f"{path}: {name} is outside of the file")
    return body[start:end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])


def erf(x):
    """Abramowitz and Stegun 7.1.26: within 2e-7."""
    t = 1 / (1 + 0.3275911 * numpy.abs(x))
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return numpy.sign(x) * (1 - poly * numpy.exp(-x * x))


def gelu(x):
    return x * 0.5 * (1 + erf(x / numpy.float32(2 ** 0.5)))


def softmax(x):
    e = numpy.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class MiniLM:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        config = json.loads((folder / "config.json").read_text())
        if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
            raise ValueError(f"{folder} is no BERT model with gelu")
        if not json.loads((folder / "tokenizer_config.json").read_text())["do_lower_case"]:
            raise ValueError(f"{folder} is a cased model")
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.epsilon = config["layer_norm_eps"]
        self.weights = read_safetensors(folder / "model.safetensors")
        length = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        self.tokenizer = WordPiece(vocabulary, length)

    def embed(self, text):
        """The mean of the last layer's rows, made 1 long."""
        mean = self.forward(self.tokenizer.encode(text)).mean(0)
        return mean / max(numpy.linalg.norm(mean), 1e-12)

    def forward(self, ids):
        """One row of numbers for each piece."""
        w = self.weights
        x = (w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:len(ids)] +
             w["embeddings.token_type_embeddings.weight"][0])
        x = self.norm("embeddings.LayerNorm", x)
        for i in range(self.layers):
            x = self.layer(f"encoder.layer.{i}.", x)
        return x

    def layer(self, name, x):
        attended = self.dense(name + "attention.output.dense", self.attention(name + "attention.self.", x))
        x = self.norm(name + "attention.output.LayerNorm", x + attended)
        inner = gelu(self.dense(name + "intermediate.dense", x))
        return self.norm(name + "output.LayerNorm", x + self.dense(name + "output.dense", inner))

    def attention(self, name, x):
        q, k, v = (self.split(self.dense(name + part, x)) for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 2, 1) / numpy.float32(q.shape[-1] ** 0.5)
        return (softmax(scores) @ v).transpose(1, 0, 2).reshape(x.shape)

    def split(self, x):
        """rows × width to heads × rows × part."""
        return x.reshape(len(x), self.heads, -1).transpose(1, 0, 2)

    def dense(self, name, x):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        deviation = numpy.sqrt((centred * centred).mean(-1, keepdims=True) + numpy.float32(self.epsilon))
        return centred / deviation * self.weights[name + ".weight"] + self.weights[name + ".bias"]
