"""Makes stft.jsonl: short-time Fourier transforms and their inverses of Python MLX. Needs mlx.

Each line has the options, the signal, the transform (shape, real, imaginary) and the signal that istft gives of it.
"""

import json

import mlx.core as mx
import numpy as np

CASES = [
    dict(shape=[20], n_fft=8),
    dict(shape=[2, 23], n_fft=8, hop_length=3),
    dict(shape=[2, 3, 20], n_fft=7),
    dict(shape=[30], n_fft=16, hop_length=4, window=16),
    dict(shape=[30], n_fft=16, hop_length=5, window=12),
    dict(shape=[30], n_fft=16, hop_length=5, window=12, win_length=12),
    dict(shape=[30], n_fft=16, hop_length=4, win_length=9),
    dict(shape=[30], n_fft=8, center=False, window=8),
    dict(shape=[31], n_fft=9, hop_length=9, center=False),
    dict(shape=[31], n_fft=4, hop_length=6, center=False),
    dict(shape=[20], n_fft=8, pad_mode="constant"),
    dict(shape=[20], n_fft=8, pad_mode="edge"),
    dict(shape=[20], n_fft=8, norm="ortho"),
    dict(shape=[20], n_fft=8, norm="forward", window=8),
    dict(shape=[20], n_fft=8, onesided=False),
    dict(shape=[20], n_fft=8, length=18),
    dict(shape=[20], n_fft=8, length=22),
    dict(shape=[20], n_fft=8, length=30),
    dict(shape=[20], n_fft=8, center=False, length=26),
    dict(shape=[20], n_fft=8, complex=True, onesided=False),
]


def main():
    rng = np.random.default_rng(0)
    for case in CASES:
        options = dict(case)
        shape, is_complex = options.pop("shape"), options.pop("complex", False)
        length, window = options.pop("length", None), options.pop("window", None)
        x = rng.standard_normal(shape).astype(np.float32)
        signal = mx.array(x).astype(mx.complex64) if is_complex else mx.array(x)
        taper = None
        if window is not None:
            taper = rng.uniform(0.2, 1.0, window).astype(np.float32)
            options["window"] = mx.array(taper)
        spectra = mx.fft.stft(signal, **options)
        options.pop("pad_mode", None)
        back = mx.fft.istft(spectra, length=length, **options)
        values = np.array(spectra)
        line = dict(
            options={k: v for k, v in case.items() if k not in ("shape", "window")},
            window=None if taper is None else taper.tolist(),
            shape=shape,
            x=x.ravel().tolist(),
            spectra_shape=list(values.shape),
            real=values.real.ravel().tolist(),
            imag=values.imag.ravel().tolist(),
            back_shape=list(back.shape),
            back=np.array(back).ravel().tolist(),
        )
        print(json.dumps(line))


main()
