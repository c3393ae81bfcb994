//! Programs that users of Python MLX would write first, as they were guessed and then mended: a GAN, a decoder with a cache of
//! keys and values, adapters on packed weights, a loader with checkpoints, and a network from sequences to sequences.

#[path = "programs/adapters.rs"]
mod adapters;
#[path = "programs/decoder.rs"]
mod decoder;
#[path = "programs/gan.rs"]
mod gan;
#[path = "programs/loader.rs"]
mod loader;
#[path = "programs/seq2seq.rs"]
mod seq2seq;
