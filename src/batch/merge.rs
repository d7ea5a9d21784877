//! Several calls as one, and its answer as several: tensors are put together and cut along the batch axis, padded and
//! trimmed. Ropes only; no element is copied here.

use bytestring::ByteString;
use smallvec::SmallVec;

use super::closing::Taken;
use super::lane::Waiting;
use super::shape::Shaper;
use crate::error::{Error, Kind, Result};
use crate::infer::{Composition, InferRequest, InferResponse, WantedOutput};
use crate::tensor::{BatchAxis, Tensor, Tensors};

/// How a batch of these calls comes about.
pub(super) fn composition(taken: &Taken) -> Composition {
    let (elements, own) = (taken.work.elements, taken.members.iter().map(|waiting| waiting.elements).sum::<usize>());
    let padding = elements.saturating_sub(own);
    Composition { rows: taken.rows, elements: elements.max(own), padding, closed: taken.closed }
}

/// Whether calls can be run as they are: one alone, neither padded nor filled up.
pub(super) fn is_plain(taken: &Taken) -> bool {
    taken.members.len() == 1 && !taken.padded && taken.work.rows == taken.rows
}

/// One request for all: inputs one behind the other, and of the outputs all that any of them wants.
///
/// # Errors
/// `TooLarge` where the whole is larger than a tensor may be.
pub(super) fn merged(shaper: &Shaper, axis: &BatchAxis, taken: &Taken) -> Result<Box<InferRequest>> {
    let members = &taken.members;
    let first = &members[0].request;
    let mut inputs = SmallVec::new();
    for (index, input) in first.inputs.iter().enumerate() {
        let place = shaper.signature.input_index(input.name(), index).expect("the call was checked");
        let own = |waiting: &Waiting| match taken.padded {
            true => padded(shaper, place, &waiting.request.inputs[index], &waiting.sizes),
            false => Ok(waiting.request.inputs[index].clone()),
        };
        let mut tensors = Tensors::with_capacity(members.len());
        for waiting in members {
            tensors.push(own(waiting)?);
        }
        fill(&mut tensors, axis.inputs()[place], taken.work.rows - taken.rows)?;
        inputs.push(Tensor::concatenated(tensors, axis.inputs()[place])?);
    }
    let mut all = SmallVec::with_capacity(members.len());
    members.iter().for_each(|waiting| all.extend(waiting.request.members.iter().cloned()));
    Ok(Box::new(InferRequest {
        model: first.model.clone(),
        outputs: union(members),
        parameters: first.parameters.clone(),
        inputs,
        received: None,
        members: all,
    }))
}

/// Repeats the last row: the only one that is known to be a good one for this model.
fn fill(tensors: &mut Tensors, dim: usize, rows: usize) -> Result<()> {
    if rows == 0 {
        return Ok(());
    }
    let last = tensors.last().expect("a batch has a call");
    let own = last.shape()[dim] as usize;
    let row = last.divided(dim, &[own - 1, 1])?.swap_remove(1);
    tensors.extend(std::iter::repeat_n(row, rows));
    Ok(())
}

fn padded(shaper: &Shaper, place: usize, tensor: &Tensor, sizes: &[usize]) -> Result<Tensor> {
    let mut tensor = tensor.clone();
    for (pad, size) in shaper.pads.iter().zip(sizes) {
        for (_, dim, padding) in pad.inputs.iter().filter(|(input, _, _)| *input == place) {
            tensor = tensor.padded(*dim, pad.bucket(*size), padding)?;
        }
    }
    Ok(tensor)
}

/// The outputs that any of the calls wants; none where one of them wants all.
fn union(members: &[Waiting]) -> Vec<WantedOutput> {
    let mut union: Vec<WantedOutput> = Vec::new();
    for waiting in members {
        if waiting.request.outputs.is_empty() {
            return Vec::new();
        }
        for wanted in &waiting.request.outputs {
            if union.iter().all(|known| known.name != wanted.name) {
                union.push(WantedOutput { name: wanted.name.clone(), classes: None });
            }
        }
    }
    union
}

/// Each call's part of the answer, in the order of `members`, with the outputs that it wants in the order it wants.
///
/// # Errors
/// `Engine` where an output has not as many rows as were run.
pub(super) fn split(
    shaper: &Shaper,
    axis: &BatchAxis,
    taken: &Taken,
    response: &InferResponse,
) -> Result<Vec<InferResponse>> {
    let members = &taken.members;
    let mut sizes: SmallVec<[usize; 8]> = members.iter().map(|waiting| waiting.rows).collect();
    sizes.push(taken.work.rows - taken.rows);
    let part = |waiting: &Waiting| InferResponse { rows: waiting.rows, ..emptied(response) };
    let mut parts: Vec<InferResponse> = members.iter().map(part).collect();
    for (index, output) in response.outputs.iter().enumerate() {
        let place = shaper.signature.output_index(output.name(), index);
        let place = place.ok_or_else(|| wrong(output, "is not the model's".into()))?;
        let rows = taken.work.rows;
        let cut = output.divided(axis.outputs()[place], &sizes);
        let cut =
            cut.map_err(|_| wrong(output, format!("has the shape {} after a run of {rows} rows", output.shape())))?;
        for ((part, waiting), tensor) in parts.iter_mut().zip(members).zip(cut) {
            if wants(&waiting.request.outputs, output.name()) {
                let tensor = if taken.padded { trimmed(shaper, place, tensor, &waiting.sizes)? } else { tensor };
                part.outputs.push(tensor);
            }
        }
    }
    for (part, waiting) in parts.iter_mut().zip(members) {
        let wanted = &waiting.request.outputs;
        part.outputs.sort_by_key(|output| wanted.iter().position(|wanted| wanted.name == *output.name()));
    }
    Ok(parts)
}

/// All of an answer but its outputs.
fn emptied(response: &InferResponse) -> InferResponse {
    InferResponse {
        model: response.model.clone(),
        version: response.version,
        outputs: SmallVec::new(),
        parameters: response.parameters.clone(),
        rows: response.rows,
        received: None,
        execution: response.execution.clone(),
    }
}

fn wants(wanted: &[WantedOutput], name: &ByteString) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted.name == *name)
}

fn wrong(output: &Tensor, what: String) -> Error {
    let name = output.name();
    Error::new(
        Kind::Engine,
        format!("output {name:?} {what}: calls of this model cannot be merged, set batch.max_batch to 1"),
    )
}

fn trimmed(shaper: &Shaper, place: usize, tensor: Tensor, sizes: &[usize]) -> Result<Tensor> {
    let mut tensor = tensor;
    for (pad, size) in shaper.pads.iter().zip(sizes) {
        for (_, dim) in pad.outputs.iter().filter(|(output, _)| *output == place) {
            tensor = tensor.trimmed(*dim, *size).map_err(|error| wrong(&tensor, error.to_string()))?;
        }
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests;
