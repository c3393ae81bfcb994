//! Each operation with a rule, alone: every way to split its inputs gives what the whole does.

use mlx::{Array, Dtype, Op, bind_all};
use mlx_compiler::sharding::{Mesh, PartitionSpec, Rules, whole_operations};
use mlx_compiler::trace;

use super::cases::{Case, all, normal};
use super::simulate;

/// Every way to split arrays of these shapes, each along one dimension or not.
fn splits(shapes: &[Vec<i32>]) -> Vec<Vec<Option<usize>>> {
    shapes.iter().fold(vec![Vec::new()], |before, shape| {
        let dims = || std::iter::once(None).chain((0..shape.len()).map(Some));
        let longer = |split: &Vec<Option<usize>>| {
            let split = split.clone();
            dims()
                .map(move |dim| [split.clone(), vec![dim]].concat())
                .collect::<Vec<_>>()
        };
        before.iter().flat_map(longer).collect()
    })
}

fn spec(dim: Option<usize>) -> PartitionSpec {
    let Some(dim) = dim else {
        return PartitionSpec::replicated();
    };
    let mut names = vec![None; dim];
    names.push(Some("x".to_owned()));
    names.into()
}

/// Checks all splits of the inputs. Those in `sums` are sums of six arrays, of which ranks have some each.
fn check(Case(op, inputs): &Case, ranks: usize, sums: &[usize]) -> Result<usize, String> {
    let mut given = inputs.clone();
    for &k in sums {
        let shape = [vec![6], inputs[k].shape().unwrap()].concat();
        given[k] = normal(&shape);
    }
    let function = |given: &Vec<Array>| {
        let sum = |(k, x): (usize, &Array)| match sums.contains(&k) {
            true => x.sum(0),
            false => x.clone(),
        };
        let inputs: Vec<Array> = given.iter().enumerate().map(sum).collect();
        bind_all(op.clone(), &inputs.iter().collect::<Vec<_>>())
    };
    let traced = trace(function, &given).map_err(|error| format!("{op:?}: {error}"))?;
    let whole = traced.graph().clone();
    let names = traced.input_names().to_vec();
    let mesh = Mesh::new(&[("x", ranks)]).unwrap();
    let shapes: Vec<Vec<i32>> = inputs.iter().map(|x| x.shape().unwrap()).collect();
    let all = splits(&shapes);
    for split in &all {
        let mut rules = Rules::new();
        for (k, dim) in split.iter().enumerate() {
            let dim = if sums.contains(&k) { Some(0) } else { *dim };
            rules = rules.input(&names[k], spec(dim));
        }
        let traced = trace(function, &given).unwrap();
        let (_, sharded) = traced.shard(&mesh, &rules, 0).unwrap();
        simulate::check(&whole, &sharded, &given).map_err(|message| {
            let graph = sharded.rank_graph(0).unwrap();
            format!("{op:?} on {ranks} ranks, {split:?}, sums {sums:?}: {message}\n{graph}")
        })?;
    }
    Ok(all.len())
}

/// Fails with all messages, and says how many splits there were.
fn judge(results: impl Iterator<Item = Result<usize, String>>) {
    let (passed, failed): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
    let messages: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
    println!("{} splits", passed.into_iter().flatten().sum::<usize>());
    assert!(
        messages.is_empty(),
        "{} fail:\n{}",
        messages.len(),
        messages.join("\n")
    );
}

#[test]
fn every_way_to_split_gives_the_whole() {
    let cases = all();
    judge(
        cases
            .iter()
            .flat_map(|case| [2, 3].map(|ranks| check(case, ranks, &[]))),
    );
}

#[test]
fn sums_that_are_not_made_yet_give_the_whole() {
    let cases = all();
    judge(cases.iter().flat_map(|case| {
        let is_real = |k: &usize| case.1[*k].dtype().unwrap() == Dtype::Float32;
        let reals: Vec<usize> = (0..case.1.len()).filter(is_real).collect();
        let each = reals
            .iter()
            .map(|k| check(case, 2, &[*k]))
            .collect::<Vec<_>>();
        each.into_iter().chain([check(case, 3, &reals)])
    }));
}

/// `addmm` has cases too, though none is left when rules are read.
#[test]
fn each_operation_with_a_rule_has_a_case() {
    let cases = all();
    let whole: Vec<&str> = whole_operations()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let wanted = Op::NAMES.iter().filter(|name| !whole.contains(name));
    // What other ranks do, one process cannot: collectives of one axis are split along another in `blocks.rs` and
    // `random_programs.rs`, on meshes of two axes.
    let wanted = wanted.filter(|name| !name.starts_with("distributed."));
    let has_case = |name: &str| cases.iter().any(|Case(op, _)| op.name() == name);
    let without: Vec<&&str> = wanted.filter(|name| !has_case(name)).collect();
    assert!(without.is_empty(), "{without:?} want cases");
}
