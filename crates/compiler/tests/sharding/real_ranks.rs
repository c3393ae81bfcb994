//! real_ranks
