"""Writes sentence_piece.gguf and sentence_piece.json: a small SentencePiece vocabulary as llama.cpp's converter writes
Llama 2's, and the tokens that SentencePiece itself makes of texts.

    python make_sentence_piece.py

Needs sentencepiece (0.2.3 was used) and gguf (0.19).
"""

import io
import json
import random

import gguf
import sentencepiece

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
    draw = random.Random(7)
    sentences = [" ".join(draw.choices(WORDS, k=draw.randint(3, 12))) for _ in range(3000)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="bpe",
        # As Llama 2's: nothing in a text is changed, and what is not known is spelled in bytes.
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
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
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def random_texts():
    draw = random.Random(8)
    letters = "aeiouthsn rd lc  mThEüß0123.,\n\t日😀\u2581"
    texts = ["".join(draw.choices(letters, k=draw.randint(1, 40))) for _ in range(60)]
    return texts + [" ".join(draw.choices(WORDS, k=8)) for _ in range(20)]


if __name__ == "__main__":
    processor = train(vocab_size=500, byte_fallback=True)
    write("sentence_piece.gguf", processor)
    texts = TEXTS + random_texts()
    rows = [[text, processor.encode(text)] for text in texts]
    rows = [[text, tokens, processor.decode(tokens)] for text, tokens in rows]
    with open("sentence_piece.json", "w") as file:
        json.dump(rows, file, indent=None, separators=(",", ":"))
        file.write("\n")
