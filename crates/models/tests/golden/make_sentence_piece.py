"""Writes sentence_piece.gguf and sentence_piece.json: a small SentencePiece vocabulary as llama.cpp's converter writes
Llama 2's, the same with `_normalized` for one that changes texts, and the tokens that SentencePiece itself makes of texts.

    python make_sentence_piece.py

Needs sentencepiece (0.2.3 was used) and gguf (0.19).
"""

import io
import json
import random
import tempfile

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

WORDS = (
    "the cat sat on the mat and the dog ran to the house where a man was making tea for his mother in the morning "
    "light of the garden while the children were singing songs about ships and stars and the king of the mountains "
    "who had twelve horses and thirteen coats of many colours that he wore on days when it rained or when it snowed "
    "def main(): return x + 1 for i in range(10): print(i) if name == main else pass import numpy as np class Foo "
    "naive café über größer straße señor niño élève 2023 1999 365 12.5 3,000 http www com org hello world"
).split()

TEXTS = [
    "",
    " ",
    "  ",
    "a",
    " a",
    "a ",
    "Hello world",
    " Hello  world ",
    "the cat sat on the mat",
    "The mothers of the mountains were singing, 12.5% louder in 2023!",
    "def main():\n    return x + 1\n\n\tpass\r\n",
    "naïve ½ 日本語 👩‍👩‍👧‍👦 \u00a0\u2009x",
    "größer straße señor",
    "aaaaaaaaaaaaaaaa",
    "thethethethe the the",
    "\u0000\u007f\u2581\u2581 a\u2581b",
    "e\u0301 é",
    "x" * 50 + " " * 20 + "y",
    "unbelievable incomprehensibilities",
]


def train(**options):
    # As Llama 2's: nothing in a text is changed, and what is not known is spelled in bytes.
    options = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, **options}
    draw = random.Random(7)
    sentences = [" ".join(draw.choices(WORDS, k=draw.randint(3, 12))) for _ in range(3000)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="bpe",
        allow_whitespace_only_pieces=True,
        split_digits=True,
        minloglevel=2,
        **options,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def write(path, processor):
    kinds = []
    for i in range(processor.vocab_size()):
        kind = gguf.TokenType.NORMAL
        if processor.IsUnknown(i):
            kind = gguf.TokenType.UNKNOWN
        elif processor.IsControl(i):
            kind = gguf.TokenType.CONTROL
        elif processor.IsUnused(i):
            kind = gguf.TokenType.UNUSED
        elif processor.IsByte(i):
            kind = gguf.TokenType.BYTE
        kinds.append(kind)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([processor.IdToPiece(i) for i in range(processor.vocab_size())])
    writer.add_token_scores([processor.GetScore(i) for i in range(processor.vocab_size())])
    writer.add_token_types(kinds)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(processor.serialized_model_proto())
    # The converter leaves these out for Llama's kind, where they are always the same.
    if model.normalizer_spec.remove_extra_whitespaces:
        writer.add_remove_extra_whitespaces(True)
        writer.add_precompiled_charsmap(model.normalizer_spec.precompiled_charsmap)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def random_texts():
    draw = random.Random(8)
    letters = "aeiouthsn rd lc  mThEüß0123.,\n\t日😀\u2581"
    texts = ["".join(draw.choices(letters, k=draw.randint(1, 40))) for _ in range(60)]
    return texts + [" ".join(draw.choices(WORDS, k=8)) for _ in range(20)]


def normalized():
    """A vocabulary with replacements of its own, and without spaces that are too many."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        # A letter; two letters that become one; one that becomes two.
        rules.write("E9\t65\n66 69\tFB01\nDF\t73 73\n9\t20\n")
        rules.flush()
        options = {"normalization_rule_name": "", "normalization_rule_tsv": rules.name}
        return train(vocab_size=320, byte_fallback=True, remove_extra_whitespaces=True, **options)


def golden(name, processor):
    rows = [[text, processor.encode(text)] for text in TEXTS + random_texts()]
    rows = [[text, tokens, processor.decode(tokens)] for text, tokens in rows]
    with open(name, "w") as file:
        json.dump(rows, file, indent=None, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    processor = train(vocab_size=500, byte_fallback=True)
    write("sentence_piece.gguf", processor)
    golden("sentence_piece.json", processor)
    processor = normalized()
    write("sentence_piece_normalized.gguf", processor)
    golden("sentence_piece_normalized.json", processor)
