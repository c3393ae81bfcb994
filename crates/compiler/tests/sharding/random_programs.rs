//! 300 random programs, on meshes of several sizes, with inputs and outputs split at random.
//!
//! `SHARDED_PROGRAMS=20000` runs more of them.

use std::collections::BTreeMap;

use mlx::Array;
use mlx_compiler::sharding::{Mesh, PartitionSpec, Rules, ShardedGraph, shard};
use mlx_compiler::{Graph, trace};

use super::random::Random;
use super::{generate, simulate};

const PROGRAMS: u64 = 300;

const MESHES: [&[(&str, usize)]; 5] = [
    &[("x", 2)],
    &[("x", 3)],
    &[("x", 4)],
    &[("x", 2), ("y", 2)],
    &[("x", 2), ("y", 3)],
];

/// Every value of a graph, split along a random dimension for each axis or whole.
fn rules(random: &mut Random, graph: &Graph, mesh: &Mesh) -> Rules {
    let mut spec = |shape: &[i32]| {
        let mut names: Vec<Option<String>> = vec![None; shape.len()];
        for axis in mesh.axes() {
            let size = i32::try_from(axis.size).unwrap();
            let fits: Vec<usize> = (0..shape.len()).filter(|k| shape[*k] >= size).collect();
            if !fits.is_empty() && random.percent(80) {
                names[*random.pick(&fits)] = Some(axis.name.clone());
            }
        }
        PartitionSpec::from(names)
    };
    let mut rules = Rules::new();
    for (k, array_type) in graph.input_types().iter().enumerate() {
        rules = rules.input(&k.to_string(), spec(&array_type.shape));
    }
    for (k, array_type) in graph.output_types().iter().enumerate() {
        if k % 2 == 1 {
            rules = rules.output(&k.to_string(), spec(&array_type.shape));
        }
    }
    rules
}

fn check(seed: u64, mesh: &[(&str, usize)]) -> Result<ShardedGraph, String> {
    let program = generate::program(seed);
    let (constants, inputs) = (program.constants(), program.inputs());
    let function = |inputs: &Vec<Array>| program.run(&constants, inputs);
    let traced = trace(function, &inputs).map_err(|error| error.to_string())?;
    let mesh = Mesh::new(mesh).unwrap();
    let rules = rules(&mut Random::new(seed + 1), traced.graph(), &mesh);
    let sharded = shard(traced.graph(), &mesh, &rules).map_err(|error| error.to_string())?;
    simulate::check(traced.graph(), &sharded, &inputs).map_err(|message| {
        let graph = sharded.rank_graph(0).unwrap();
        format!(
            "seed {seed}, {mesh:?}: {message}\n{}\n{graph}\n{rules:?}",
            sharded.whole()
        )
    })?;
    Ok(sharded)
}

#[test]
fn random_programs_agree_on_all_meshes() {
    let mut seen = BTreeMap::<&'static str, usize>::new();
    let (mut split, mut refused) = (0, 0);
    let more = std::env::var("SHARDED_PROGRAMS")
        .ok()
        .and_then(|n| n.parse().ok());
    for seed in 0..more.unwrap_or(PROGRAMS) {
        let sharded =
            check(seed, MESHES[(seed % 5) as usize]).unwrap_or_else(|message| panic!("{message}"));
        let report = sharded.report();
        split += usize::from(!report.values.is_empty());
        refused += report.refusals.len();
        for one in &report.collectives {
            *seen.entry(one.kind.name()).or_default() += 1;
        }
    }
    println!(
        "{PROGRAMS} programs, {split} with split inputs, {refused} refusals, collectives {seen:?}"
    );
    assert!(split > PROGRAMS as usize / 3, "{split}");
    for kind in ["all_sum", "all_gather", "all_max"] {
        assert!(seen.get(kind).is_some_and(|n| *n >= 5), "{kind}: {seen:?}");
    }
}
