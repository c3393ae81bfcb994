"""faster-whisper on CTranslate2, float32, as its pages advise for a CPU."""

import time

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel

from protocol import Row, Unsupported, package, serve


def prepare(load, inputs, threads):
    op, params = load["op"], load["params"]
    if not op.startswith("whisper"):
        raise Unsupported("is for Whisper only")
    model = WhisperModel(params["whisper_ct2"], device="cpu", compute_type="float32", cpu_threads=threads)
    mel = np.load(params["mel"])
    features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.T[None]))
    if op == "whisper_encoder":
        encode = lambda: model.model.encode(features, to_cpu=True)  # noqa: E731
        return Row(encode, numpy=np.array)
    text = [""]
    if op == "whisper_token":
        encoded = model.model.encode(features, to_cpu=False)
        tokenizer = model.hf_tokenizer
        start_of = [tokenizer.token_to_id(name) for name in ("<|startoftranscript|>", "<|notimestamps|>")]

        def token():
            start = time.perf_counter()
            result = model.model.generate(encoded, [start_of], beam_size=1, suppress_blank=True)[0]
            written = result.sequences_ids[0]
            ms = (time.perf_counter() - start) * 1e3 / (len(written) + 1)
            text[0] = tokenizer.decode(written)
            return ms

        return Row(token, text=lambda: text[0], times=True)
    if op == "whisper_total":
        from faster_whisper.audio import decode_audio

        samples = decode_audio(params["audio"])

        def total():
            segments, _ = model.transcribe(
                samples,
                language="en",
                beam_size=1,
                temperature=0.0,
                without_timestamps=True,
                condition_on_previous_text=False,
            )
            text[0] = "".join(segment.text for segment in segments)

        return Row(total, text=lambda: text[0])
    raise Unsupported(f"has no {op}")


if __name__ == "__main__":
    serve("faster-whisper", package("faster-whisper", "ctranslate2"), prepare)
