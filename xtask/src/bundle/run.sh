#!/bin/sh
# Joins the parts beside this file, checks them, unpacks them, and runs what is in them.
#
#     run.sh [--to FOLDER] [COMMAND [ARGUMENT...]]
#
# COMMAND is a program of the bundle: `mlx doctor`, or `suite . --out results.json` for the tests, or `bench --device gpu`
# for the benchmarks, whose results go to the folder OUT when that variable is set, else to `bench-results`; without one,
# the tests if they are in the bundle, else the benchmarks, else `mlx doctor`. It needs sh, tar, sha256sum, and xz or python3. MLX_CUDA_DIR says where NVIDIA's
# libraries are; without it they are looked for in Python's packages and in /usr/local/cuda.
set -eu
from=$(cd "$(dirname "$0")" && pwd)
here=$(pwd)
to=$from/unpacked
if [ "${1:-}" = --to ]; then
    mkdir -p "$2"
    to=$(cd "$2" && pwd)
    shift 2
fi

unxz() {
    if command -v xz >/dev/null; then
        xz -dc
    else
        python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer)'
    fi
}

mkdir -p "$to"
for archive in libraries programs; do
    hashes=
    for part in "$from/$archive".tar.xz.*; do
        [ -f "$part" ] || continue
        want=${part##*-}
        hash=$(sha256sum "$part")
        case $hash in
        "$want"*) hashes=$hashes$want ;;
        *) echo "run.sh: $part is damaged: copy it again" >&2 && exit 1 ;;
        esac
    done
    if [ -z "$hashes" ] || [ "$(cat "$to/.$archive" 2>/dev/null)" = "$hashes" ]; then
        continue
    fi
    cat "$from/$archive".tar.xz.* | unxz | tar -x -C "$to"
    echo "$hashes" >"$to/.$archive"
done

if ls "$to"/lib/libmlx.so >/dev/null 2>&1 && [ -d "$to/include/cccl" ]; then
    if [ -z "${MLX_CUDA_DIR:-}" ]; then
        MLX_CUDA_DIR=$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || echo /usr/local/cuda)
    fi
    export MLX_CUDA_DIR
    # MLX looks for CUDA's headers here, or in /usr/local/cuda.
    if [ -z "${CUDA_HOME:-}${CUDA_PATH:-}" ] && [ ! -d /usr/local/cuda/include ]; then
        for include in "$MLX_CUDA_DIR/include" "$MLX_CUDA_DIR"/cu*/include; do
            [ -d "$include" ] && export CUDA_HOME="${include%/include}"
        done
    fi
fi
if [ $# -gt 0 ]; then
    command=$1
    shift
    if [ "$command" = bench ]; then
        command=mlx-bench
        [ -z "${OUT:-}" ] || set -- --out "$OUT" "$@"
    fi
    exec "$to/bin/$command" "$@"
elif [ -x "$to/bin/suite" ]; then
    exec "$to/bin/suite" suite "$to" --out "$here/results.json"
elif [ -x "$to/bin/mlx-bench" ] && [ ! -x "$to/bin/mlx" ]; then
    exec "$to/bin/mlx-bench" --device gpu --out "${OUT:-$here/bench-results}"
else
    exec "$to/bin/mlx" doctor
fi
