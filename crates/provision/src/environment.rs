//! Every environment variable that the build, set-up, the loader and the kernels of this workspace read.

/// When a variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// By build scripts and `cargo xtask setup`.
    Build,
    /// By a program that loads MLX.
    Run,
    /// By both.
    Both,
}

/// A variable and its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Who reads it.
    pub when: When,
    /// What it does, in one sentence.
    pub meaning: &'static str,
}

/// Where everything is staged.
pub const BUILD_DIR: &str = "MLX_BUILD_DIR";
/// A switch: no network.
pub const OFFLINE: &str = "MLX_OFFLINE";
/// Cargo's own switch, obeyed too.
pub const CARGO_OFFLINE: &str = "CARGO_NET_OFFLINE";
/// Set on docs.rs.
pub const DOCS_RS: &str = "DOCS_RS";
/// An existing MLX.
pub const MLX_DIR: &str = "MLX_DIR";
/// Which build of MLX.
pub const BACKEND: &str = "MLX_BACKEND";
/// The folder that the loader reads first.
pub const LIB_DIR: &str = "MLX_LIB_DIR";
/// Whose BLAS.
pub const BLAS: &str = "MLX_BLAS";
/// Which device computes by default.
pub const DEVICE: &str = "MLX_DEVICE";
/// A switch: whether the kernels of `mlx-kernels` compute on the CPU.
pub const HOST_KERNELS: &str = "MLX_HOST_KERNELS";
/// A switch: whether kernels of our own compute on CUDA.
pub const CUDA_KERNELS: &str = "MLX_CUDA_KERNELS";
/// A switch: whether compiled functions are recorded as graphs on CUDA.
pub const CUDA_PROGRAMS: &str = "MLX_CUDA_PROGRAMS";
/// A switch: whether kernels of such a graph may begin before those that they wait for have ended.
pub const CUDA_OVERLAP: &str = "MLX_CUDA_OVERLAP";
/// How long a ring of processes waits for one of them.
pub const RING_TIMEOUT: &str = "MLX_RING_TIMEOUT";
/// Open MPI's library; the name is MLX's.
pub const MPI_LIBRARY: &str = "MLX_MPI_LIBNAME";
/// How many threads the CPU's use.
pub const NUM_THREADS: &str = "MLX_NUM_THREADS";
/// Which instructions those use.
pub const KERNELS_SIMD: &str = "MLX_KERNELS_SIMD";
/// Whether compiled functions measure the forms of their parts.
pub const AUTOTUNE: &str = "MLX_AUTOTUNE";
/// The file with what they measured.
pub const AUTOTUNE_CACHE: &str = "MLX_AUTOTUNE_CACHE";
/// NVIDIA's libraries.
pub const CUDA_DIR: &str = "MLX_CUDA_DIR";
/// How many kernels MLX gathers in one CUDA graph.
pub const MAX_OPS_PER_BUFFER: &str = "MLX_MAX_OPS_PER_BUFFER";
/// How many elements they read.
pub const MAX_MB_PER_BUFFER: &str = "MLX_MAX_MB_PER_BUFFER";
/// The Python to use.
pub const PYTHON: &str = "MLX_PYTHON";
/// The C++ compiler.
pub const CXX: &str = "CXX";
/// Its flags.
pub const CXXFLAGS: &str = "CXXFLAGS";
/// The CMake to use.
pub const CMAKE: &str = "CMAKE";
/// Where bindgen finds libclang.
pub const LIBCLANG_PATH: &str = "LIBCLANG_PATH";

/// The variables, in the order a reader wants them.
pub const ALL: &[Variable] = &[
    Variable {
        name: BUILD_DIR,
        when: When::Both,
        meaning: "the folder where native files are staged, instead of `build/` of the checkout or the user's cache",
    },
    Variable {
        name: BACKEND,
        when: When::Both,
        meaning: "cpu, metal, cuda12 or cuda13, instead of the default for the machine",
    },
    Variable {
        name: OFFLINE,
        when: When::Build,
        meaning: "1 forbids every network call; what is missing is named, with the command that fetches it",
    },
    Variable {
        name: CARGO_OFFLINE,
        when: When::Build,
        meaning: "true forbids every network call, as for cargo itself",
    },
    Variable {
        name: DOCS_RS,
        when: When::Build,
        meaning: "when set nothing is staged and the bindings are left empty, so that documentation builds",
    },
    Variable {
        name: MLX_DIR,
        when: When::Both,
        meaning: "an existing MLX of the pinned version: a folder with `lib/` and `include/`",
    },
    Variable {
        name: LIB_DIR,
        when: When::Run,
        meaning: "a folder with the native libraries, searched before all others",
    },
    Variable {
        name: BLAS,
        when: When::Run,
        meaning: "`bundled` keeps the BLAS inside the MLX wheel instead of binding OpenBLAS first",
    },
    Variable {
        name: DEVICE,
        when: When::Run,
        meaning: "cpu makes the CPU the default device of a build for a GPU",
    },
    Variable {
        name: HOST_KERNELS,
        when: When::Run,
        meaning: "0 leaves all work on the CPU to MLX's own code",
    },
    Variable {
        name: CUDA_KERNELS,
        when: When::Run,
        meaning: "0 leaves all work on NVIDIA GPUs to MLX's own kernels",
    },
    Variable {
        name: CUDA_PROGRAMS,
        when: When::Run,
        meaning: "0 has compiled functions on NVIDIA GPUs replayed by MLX, not launched as graphs",
    },
    Variable {
        name: CUDA_OVERLAP,
        when: When::Run,
        meaning: "0 has the kernels of such a graph begin when those before them have ended, not earlier",
    },
    Variable {
        name: RING_TIMEOUT,
        when: When::Run,
        meaning: "how many seconds a rank of a ring waits for another one; 300 otherwise",
    },
    Variable {
        name: MPI_LIBRARY,
        when: When::Run,
        meaning: "the name or path of Open MPI's library, instead of `libmpi.so`",
    },
    Variable {
        name: NUM_THREADS,
        when: When::Run,
        meaning: "how many threads the kernels for the CPU use, instead of one for each core",
    },
    Variable {
        name: KERNELS_SIMD,
        when: When::Run,
        meaning: "avx2 or scalar: lesser vector instructions for the kernels than the machine has",
    },
    Variable {
        name: AUTOTUNE,
        when: When::Run,
        meaning: "1 has compiled functions measure which form of each part is the fastest, `cached` use only what was measured before",
    },
    Variable {
        name: AUTOTUNE_CACHE,
        when: When::Run,
        meaning: "the file with what was measured, instead of `autotune.json` in the user's cache",
    },
    Variable {
        name: CUDA_DIR,
        when: When::Run,
        meaning: "a CUDA toolkit, or a `site-packages/nvidia` folder, with the libraries that MLX needs on NVIDIA",
    },
    Variable {
        name: MAX_OPS_PER_BUFFER,
        when: When::Run,
        meaning: "how many kernels MLX gathers in one CUDA graph before it launches it, instead of what was measured for the chip",
    },
    Variable {
        name: MAX_MB_PER_BUFFER,
        when: When::Run,
        meaning: "how many elements, in 2^20, the kernels of one CUDA graph read",
    },
    Variable {
        name: PYTHON,
        when: When::Build,
        meaning: "the Python that runs pip, instead of `python3` or `python`",
    },
    Variable {
        name: CXX,
        when: When::Build,
        meaning: "the C++20 compiler, instead of `c++`, `g++` or `clang++`; with arguments or through ccache: `ccache g++ -m64`",
    },
    Variable {
        name: CXXFLAGS,
        when: When::Build,
        meaning: "further flags for the C++ compiler, quoted as in a shell",
    },
    Variable {
        name: CMAKE,
        when: When::Build,
        meaning: "the CMake program, instead of `cmake` or the staged one",
    },
    Variable {
        name: LIBCLANG_PATH,
        when: When::Build,
        meaning: "the folder of libclang, instead of the system's or the staged one",
    },
];

/// Returns a variable's value when it is set and not empty.
#[must_use]
pub fn value(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns whether a switch is on; `None` when the variable is not set.
///
/// `0`, `false`, `no` and `off` in any case switch off, and every other value on. An empty variable counts as not set.
#[must_use]
pub fn flag(name: &str) -> Option<bool> {
    parse_flag(&std::env::var_os(name)?)
}

/// Returns what a switch with this value is, as [`flag`] does.
#[must_use]
pub fn parse_flag(value: &std::ffi::OsStr) -> Option<bool> {
    const OFF: [&str; 4] = ["0", "false", "no", "off"];
    let text = value.to_string_lossy();
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    Some(!OFF.iter().any(|off| off.eq_ignore_ascii_case(text)))
}

/// Tells cargo to run the calling build script again when one of the variables changes.
pub fn rerun_if_changed() {
    for variable in ALL.iter().filter(|variable| variable.when != When::Run) {
        println!("cargo:rerun-if-env-changed={}", variable.name);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1", Some(true))]
    #[case("true", Some(true))]
    #[case("yes", Some(true))]
    #[case("on", Some(true))]
    #[case("anything", Some(true))]
    #[case("0", Some(false))]
    #[case(" 0 ", Some(false))]
    #[case("false", Some(false))]
    #[case("False", Some(false))]
    #[case("no", Some(false))]
    #[case("OFF", Some(false))]
    #[case("", None)]
    #[case("  ", None)]
    fn switches_are_read_alike(#[case] value: &str, #[case] wanted: Option<bool>) {
        assert_eq!(parse_flag(value.as_ref()), wanted);
    }

    #[test]
    fn a_variable_that_is_not_set_is_no_answer() {
        assert_eq!(flag("MLX_A_VARIABLE_THAT_IS_NOT_SET"), None);
    }
}
