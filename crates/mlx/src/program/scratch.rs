//! Liveness: which bytes of the scratch memory each intermediate result has, and from when on they are used again.

use super::planner::Draft;
use super::{Instruction, Place, PlanError};

/// The bytes between the starts of buffers.
const ALIGNMENT: usize = 64;

/// Gives each buffer in scratch memory its place, and returns how many bytes that takes; at most `max_bytes`.
pub(super) fn place(
    instructions: &[Instruction],
    drafts: &mut [Draft],
    max_bytes: usize,
) -> Result<usize, PlanError> {
    let lifetimes = lifetimes(instructions, drafts.len());
    let mut order: Vec<(usize, usize, usize)> = lifetimes
        .iter()
        .enumerate()
        .filter(|(buffer, _)| matches!(drafts[*buffer].place, Place::Scratch(_)))
        .filter_map(|(buffer, lifetime)| lifetime.map(|(first, last)| (first, last, buffer)))
        .collect();
    order.sort_by_key(|&(first, _, buffer)| (first, buffer));
    let mut taken: Vec<(usize, usize, usize)> = Vec::new();
    let mut used = 0_usize;
    for (first, last, buffer) in order {
        let size = drafts[buffer]
            .array_type
            .nbytes()
            .ok_or(PlanError::Memory)?;
        let size = size.next_multiple_of(ALIGNMENT);
        // The results of an instruction are beside what it reads.
        taken.retain(|&(.., until)| until >= first);
        taken.sort_unstable();
        let mut start = 0;
        for &(other, end, _) in &taken {
            if start + size <= other {
                break;
            }
            start = start.max(end);
        }
        taken.push((start, start + size, last));
        drafts[buffer].place = Place::Scratch(start);
        used = used.max(start + size);
        if used > max_bytes {
            return Err(PlanError::Memory);
        }
    }
    Ok(used)
}

/// The first and last instruction that uses each buffer.
fn lifetimes(instructions: &[Instruction], n_buffers: usize) -> Vec<Option<(usize, usize)>> {
    let mut lifetimes: Vec<Option<(usize, usize)>> = vec![None; n_buffers];
    for (number, instruction) in instructions.iter().enumerate() {
        for view in instruction.reads.iter().chain(&instruction.writes) {
            let lifetime = lifetimes[view.buffer].get_or_insert((number, number));
            lifetime.1 = number;
        }
    }
    lifetimes
}
