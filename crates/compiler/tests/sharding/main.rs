//! Sharded graphs give what the whole ones do: all ranks simulated by the interpreter, and real ranks over a ring.

mod blocks;
mod cases;
mod control;
mod elementwise_cases;
#[allow(dead_code)]
#[path = "../random_graphs/formulas.rs"]
mod formulas;
mod fused;
#[allow(dead_code)]
#[path = "../random_graphs/generate.rs"]
mod generate;
mod mutations;
mod operations;
mod plan;
#[allow(dead_code)]
#[path = "../random_graphs/program.rs"]
mod program;
#[allow(dead_code)]
#[path = "../random_graphs/random.rs"]
mod random;
mod random_networks;
mod random_programs;
#[path = "../../../mlx/tests/distributed/ranks.rs"]
mod ranks;
mod real_ranks;
mod report;
mod simulate;
mod special_values;
