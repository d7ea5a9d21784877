//! Which calls go together and which do not, and what is wrong with rules that a model cannot keep to.

use super::*;
use crate::batch::fixture::{Spec, plain, request, rules, signature, tensor};
use crate::tensor::Shape;

const LENGTHS: [&str; 2] = ["batch", "length"];

/// A model of two inputs that share their lengths, one of them a mask, and of one that may be left out.
fn model() -> Arc<Signature> {
    let inputs: [Spec<'_>; 3] =
        [("ids", DType::Int64, &LENGTHS), ("mask", DType::Int64, &LENGTHS), ("bias?", DType::Fp32, &["batch", "-1"])];
    signature(&inputs, &[("probs", DType::Fp32, &LENGTHS)])
}

fn pad(buckets: &[usize]) -> Pad {
    Pad { symbol: "length".into(), buckets: buckets.to_vec(), value: 9.0, mask: Some("mask".into()) }
}

fn shaper(pads: Vec<Pad>) -> Shaper {
    let rules = Rules { pads, ..rules(&model(), 8) };
    Shaper::new(model(), &rules).unwrap()
}

/// A call with these dimensions of "ids", and of the others where they are given.
fn call(ids: [i64; 2], mask: Option<[i64; 2]>, bias: Option<[i64; 2]>) -> InferRequest {
    let mut inputs = vec![tensor("ids", DType::Int64, &ids, 1), tensor("mask", DType::Int64, &mask.unwrap_or(ids), 2)];
    inputs.extend(bias.map(|bias| tensor("bias", DType::Fp32, &bias, 3)));
    request(inputs, std::time::Instant::now())
}

fn plain_call(rows: i64, length: i64) -> InferRequest {
    call([rows, length], None, None)
}

fn are_alike(shaper: &Shaper, mut one: InferRequest, mut other: InferRequest) -> bool {
    shaper.measure(&mut one).alike == shaper.measure(&mut other).alike
}

fn with(mut request: InferRequest, name: &'static str, value: Parameter) -> InferRequest {
    request.parameters.set(name.into(), value);
    request
}

#[test]
fn calls_of_equal_lengths_are_alike_whatever_their_rows() {
    let shaper = shaper(Vec::new());
    assert!(are_alike(&shaper, plain_call(1, 5), plain_call(3, 5)));
    assert!(!are_alike(&shaper, plain_call(1, 5), plain_call(1, 6)));
}

#[test]
fn inputs_in_another_order_are_alike_and_come_into_the_models() {
    let shaper = shaper(Vec::new());
    let mut other = call([1, 5], None, Some([1, 2]));
    other.inputs.reverse();
    assert!(are_alike(&shaper, call([1, 5], None, Some([1, 2])), other.clone()));
    shaper.measure(&mut other);
    assert_eq!(other.inputs.iter().map(|input| &**input.name()).collect::<Vec<_>>(), ["ids", "mask", "bias"]);
}

#[test]
fn an_input_that_may_be_left_out_is_given_by_all_or_none() {
    let shaper = shaper(Vec::new());
    assert!(!are_alike(&shaper, plain_call(1, 5), call([1, 5], None, Some([1, 2]))));
    assert!(are_alike(&shaper, call([2, 5], None, Some([2, 2])), call([1, 5], None, Some([1, 2]))));
}

#[test]
fn other_parameters_are_not_alike_and_equal_ones_are_in_any_order() {
    let (shaper, call) = (shaper(Vec::new()), || plain_call(1, 5));
    let values = [
        Parameter::Bool(true),
        Parameter::Int(1),
        Parameter::Uint(1),
        Parameter::Double(1.0),
        Parameter::String("1".into()),
    ];
    for (index, value) in values.iter().enumerate() {
        for (other, value_of_other) in values.iter().enumerate() {
            let alike = are_alike(&shaper, with(call(), "a", value.clone()), with(call(), "a", value_of_other.clone()));
            assert_eq!(alike, index == other, "{value:?} and {value_of_other:?}");
        }
        assert!(!are_alike(&shaper, call(), with(call(), "a", value.clone())));
    }
    let (one, two) = (Parameter::Int(1), Parameter::Int(2));
    let ab = with(with(call(), "a", one.clone()), "b", two.clone());
    assert!(are_alike(&shaper, ab.clone(), with(with(call(), "b", two.clone()), "a", one.clone())));
    assert!(!are_alike(&shaper, ab, with(with(call(), "a", two), "b", one)));
}

#[test]
fn parameters_for_the_way_through_the_queue_make_no_difference() {
    let shaper = shaper(Vec::new());
    for name in ["priority", "timeout", "sequence_id", "triton_enable_empty_final_response"] {
        assert!(are_alike(&shaper, plain_call(1, 5), with(plain_call(1, 5), name, Parameter::Uint(0))), "{name}");
    }
}

#[test]
fn another_version_is_not_alike() {
    let mut other = plain_call(1, 5);
    other.model.version = VersionChoice::Label("canary".into());
    assert!(!are_alike(&shaper(Vec::new()), plain_call(1, 5), other));
}

#[test]
fn lengths_of_one_bucket_are_alike_and_keep_a_shape_of_their_own() {
    let shaper = shaper(vec![pad(&[4, 8])]);
    assert!(are_alike(&shaper, plain_call(1, 5), plain_call(3, 8)));
    assert!(!are_alike(&shaper, plain_call(1, 4), plain_call(1, 5)));
    let (five, six) = (shaper.measure(&mut plain_call(1, 5)), shaper.measure(&mut plain_call(1, 6)));
    assert_ne!(five.own_shape, six.own_shape);
    assert_eq!(five.own_shape, shaper.measure(&mut plain_call(7, 5)).own_shape);
    assert_eq!((five.elements, five.padded_elements, five.sizes.to_vec()), (10, 16, vec![5]));
}

#[test]
fn lengths_above_the_largest_bucket_are_alike_where_they_are_equal() {
    let shaper = shaper(vec![pad(&[4, 8])]);
    assert!(are_alike(&shaper, plain_call(1, 9), plain_call(2, 9)));
    assert!(!are_alike(&shaper, plain_call(1, 9), plain_call(1, 10)));
}

#[test]
fn inputs_that_disagree_about_a_length_are_not_padded() {
    let (shaper, disagreeing) = (shaper(vec![pad(&[4, 8])]), || call([1, 5], Some([1, 6]), None));
    assert!(!are_alike(&shaper, disagreeing(), plain_call(1, 8)));
    assert!(are_alike(&shaper, disagreeing(), disagreeing()));
    let measured = shaper.measure(&mut disagreeing());
    assert!(measured.sizes.is_empty() && measured.padded_elements == measured.elements);
}

#[test]
fn a_length_of_nothing_is_not_padded() {
    let measured = shaper(vec![pad(&[4, 8])]).measure(&mut plain_call(2, 0));
    assert_eq!((measured.padded_elements, measured.sizes.len()), (0, 0));
}

#[test]
fn a_call_without_rows_is_never_merged() {
    let measured = shaper(Vec::new()).measure(&mut plain_call(0, 5));
    assert_eq!((measured.rows, measured.merges), (0, false));
    assert!(shaper(Vec::new()).measure(&mut plain_call(1, 5)).merges);
}

#[test]
fn a_call_whose_inputs_differ_in_rows_is_never_merged() {
    let measured = shaper(Vec::new()).measure(&mut call([2, 5], None, Some([3, 5])));
    assert_eq!((measured.rows, measured.merges), (1, false));
}

#[test]
fn a_model_that_runs_one_row_at_a_time_merges_nothing() {
    for rules in [rules(&model(), 1), Rules { axis: None, ..rules(&model(), 8) }] {
        let measured = Shaper::new(model(), &rules).unwrap().measure(&mut plain_call(1, 5));
        assert!(!measured.merges);
    }
}

/// A shape that takes no bytes, and more rows or padding than can be counted.
#[test]
fn shapes_that_are_large_and_empty_do_no_harm() {
    let dims = ["batch", "length", "-1", "-1"];
    let model = signature(&[("x", DType::Uint8, &dims)], &[("y", DType::Uint8, &dims)]);
    let pads = vec![Pad { symbol: "length".into(), buckets: vec![65_536], value: 0.0, mask: None }];
    let shaper = Shaper::new(model.clone(), &Rules { pads, ..rules(&model, 8) }).unwrap();
    let measured = |dims: [i64; 4]| {
        let shape = Shape::new(&dims).unwrap();
        let input = Tensor::new("x".into(), DType::Uint8, shape, Default::default()).unwrap();
        shaper.measure(&mut request([input], std::time::Instant::now()))
    };
    assert_eq!(measured([1, 3, 1 << 60, 0]).padded_elements, 0);
    assert_eq!(measured([1, 0, 1 << 40, 5]).padded_elements, 0);
    assert!(measured([i64::MAX, 0, 1, 1]).rows <= u32::MAX as usize, "sums of rows must not overflow");
}

#[test]
fn rules_that_a_model_cannot_keep_to_are_told_in_a_sentence() {
    let refused = |pad: Pad| {
        let rules = Rules { pads: vec![pad], ..rules(&model(), 8) };
        Shaper::new(model(), &rules).map(|_| ()).unwrap_err()
    };
    assert_eq!(
        refused(Pad { symbol: "batch".into(), ..pad(&[4]) }),
        "dims.batch: it is the batch axis, whose sizes are allowed_sizes"
    );
    assert_eq!(
        refused(Pad { symbol: "width".into(), ..pad(&[4]) }),
        "dims.width: no input of the model has such a dimension"
    );
    assert_eq!(
        refused(Pad { mask: Some("masks".into()), ..pad(&[4]) }),
        "dims.length.mask: the model has no input \"masks\""
    );
}

#[test]
fn rules_of_padding_are_not_looked_at_where_nothing_is_merged() {
    let pads = vec![Pad { symbol: "width".into(), ..pad(&[4]) }];
    assert!(Shaper::new(plain(), &Rules { pads, ..rules(&plain(), 1) }).is_ok());
}

#[test]
fn padding_is_the_value_for_content_and_zero_for_the_mask() {
    let shaper = shaper(vec![pad(&[4])]);
    let padded = |input: usize| {
        let (_, dim, padding) = &shaper.pads[0].inputs[input];
        tensor("x", DType::Int64, &[1, 1], 0).padded(*dim, 2, padding).unwrap().data().to_bytes()[8..].to_vec()
    };
    assert_eq!(padded(0), 9i64.to_le_bytes());
    assert_eq!(padded(1), 0i64.to_le_bytes());
}

#[test]
fn numbers_that_a_type_does_not_have_become_the_nearest_in_it() {
    assert_eq!(element(DType::Int8, 300.0)[..], [127]);
    assert_eq!(element(DType::Uint16, -1.0)[..], [0, 0]);
    assert_eq!(element(DType::Bool, 2.0)[..], [1]);
    assert_eq!(element(DType::Fp16, 1.0)[..], f16::ONE.to_le_bytes());
    assert_eq!(element(DType::Bytes, 7.0)[..], [0; 4]);
}
