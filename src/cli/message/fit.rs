//! From the shape in which values were given to the one that a model takes, where only one can be meant.

use crate::error::{Error, Result};
use crate::tensor::{Dim, TensorSpec};

/// The shape that is meant: the given one where the model takes it; else with 1s in front, up to the model's rank; else,
/// for a flat list, the model's own shape where no more than one free dimension is left to be found.
///
/// # Errors
/// `Invalid` with both shapes.
pub fn fit(given: &[i64], spec: &TensorSpec) -> Result<Vec<i64>> {
    let missing = spec.dims.len().saturating_sub(given.len());
    let led_by_ones = [&vec![1; missing], given].concat();
    if admits(spec, &led_by_ones) {
        return Ok(led_by_ones);
    }
    if let [count] = given
        && let Some(dims) = unflattened(*count, spec)
    {
        return Ok(dims);
    }
    let given: Vec<String> = given.iter().map(i64::to_string).collect();
    Err(Error::invalid(format!("expected shape {spec}, got [{}]", given.join(","))))
}

fn admits(spec: &TensorSpec, dims: &[i64]) -> bool {
    spec.dims.len() == dims.len()
        && spec.dims.iter().zip(dims).all(|(dim, size)| match dim {
            Dim::Fixed(fixed) => fixed == size,
            Dim::Free(_) => true,
        })
}

/// The one shape of the model that has `count` elements.
fn unflattened(count: i64, spec: &TensorSpec) -> Option<Vec<i64>> {
    let mut fixed: i64 = 1;
    let mut free = 0;
    for dim in &spec.dims {
        match dim {
            Dim::Fixed(size) => fixed = fixed.checked_mul(*size)?,
            Dim::Free(_) => free += 1,
        }
    }
    let found = match free {
        0 if count == fixed => 1,
        1 if fixed > 0 && count % fixed == 0 => count / fixed,
        _ => return None,
    };
    Some(spec.dims.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { found }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn fits(given: &[i64], dims: &[i64]) -> Option<Vec<i64>> {
        let dim = |size: &i64| if *size < 0 { Dim::Free(None) } else { Dim::Fixed(*size) };
        let dims = dims.iter().map(dim).collect();
        fit(given, &TensorSpec { name: "x".into(), dtype: DType::Fp32, dims, optional: false }).ok()
    }

    #[test]
    fn a_shape_that_the_model_takes_stays() {
        assert_eq!(fits(&[2, 3], &[-1, 3]), Some(vec![2, 3]));
        assert_eq!(fits(&[], &[]), Some(vec![]));
        assert_eq!(fits(&[0, 3], &[-1, 3]), Some(vec![0, 3]));
    }

    #[test]
    fn ones_are_put_in_front() {
        assert_eq!(fits(&[8, 8], &[-1, 1, 8, 8]), Some(vec![1, 1, 8, 8]));
        assert_eq!(fits(&[], &[-1, 1]), Some(vec![1, 1]));
        assert_eq!(fits(&[5], &[-1, -1]), Some(vec![1, 5]));
    }

    #[test]
    fn a_flat_list_takes_the_only_shape_it_can_have() {
        assert_eq!(fits(&[128], &[-1, 1, 8, 8]), Some(vec![2, 1, 8, 8]));
        assert_eq!(fits(&[3], &[-1, 1]), Some(vec![3, 1]));
        assert_eq!(fits(&[6], &[2, 3]), Some(vec![2, 3]));
        assert_eq!(fits(&[1], &[]), Some(vec![]));
        assert_eq!(fits(&[0], &[-1, 4]), Some(vec![0, 4]));
    }

    #[test]
    fn what_could_be_meant_in_several_ways_or_in_none_is_refused() {
        assert_eq!(fits(&[8], &[-1, 4, -1]), None);
        assert_eq!(fits(&[63], &[-1, 64]), None);
        assert_eq!(fits(&[5], &[2, 3]), None);
        assert_eq!(fits(&[2, 32], &[-1, 64]), None);
        assert_eq!(fits(&[1, 2, 3], &[2, 3]), None);
        assert_eq!(fits(&[4], &[-1, 0]), None);
    }

    #[test]
    fn the_refusal_has_both_shapes() {
        let dims = vec![Dim::Free(Some("batch".into())), Dim::Fixed(8)];
        let spec = TensorSpec { name: "x".into(), dtype: DType::Fp32, dims, optional: false };
        assert_eq!(fit(&[3, 7], &spec).unwrap_err().message(), "expected shape [batch,8], got [3,7]");
    }
}
