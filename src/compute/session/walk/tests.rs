//! Models made by hand, and walks over them.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// A length-delimited field.
pub(in crate::compute::session) fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = varint(number << 3 | 2);
    bytes.extend(varint(content.len() as u64));
    bytes.extend_from_slice(content);
    bytes
}

pub(in crate::compute::session) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A tensor with these entries, a name and some weights of its own.
pub(in crate::compute::session) fn tensor(entries: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
    let entries = entries.iter().flat_map(|pair| field(13, &entry(pair)));
    [varint(2 << 3), varint(1), field(8, b"w")].concat().into_iter().chain(entries).chain(field(9, &[7; 9])).collect()
}

/// A model with these initializers.
pub(in crate::compute::session) fn model(initializers: &[Vec<u8>]) -> Vec<u8> {
    let graph: Vec<u8> = initializers.iter().flat_map(|tensor| field(5, tensor)).collect();
    [varint(1 << 3), varint(8), field(7, &graph)].concat()
}

fn walk(model: &[u8]) -> Result<Vec<ExternalData>, String> {
    external_data(Cursor::new(model), model.len() as u64).map_err(|error| error.to_string())
}

fn locations(model: &[u8]) -> Vec<String> {
    walk(model).unwrap().into_iter().filter_map(|data| data.location).collect()
}

#[test]
fn a_tensor_is_found_with_its_place_and_one_without_is_not() {
    let place = [("location", "w.bin"), ("offset", "8"), ("checksum", "x"), ("length", "4")];
    let found = walk(&model(&[tensor(&[]), tensor(&place), tensor(&[])])).unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found, [ExternalData { location: text("w.bin"), offset: text("8"), length: text("4") }]);
}

#[test]
fn tensors_are_found_wherever_a_model_can_hold_one() {
    let at = |location| tensor(&[("location", location)]);
    let sparse = |location| [field(1, &at(location)), field(2, &at(location))].concat();
    let attribute = [
        field(5, &at("t")),
        field(6, &field(5, &at("g"))),
        field(10, &at("tensors")),
        field(11, &field(5, &at("graphs"))),
        field(22, &sparse("sparse_tensor")),
        field(23, &sparse("sparse_tensors")),
    ]
    .concat();
    let graph = [field(1, &field(5, &attribute)), field(15, &sparse("sparse_initializer"))].concat();
    let function = [field(7, &field(5, &field(5, &at("node")))), field(11, &field(5, &at("default")))].concat();
    let training = [field(1, &field(5, &at("init"))), field(2, &field(5, &at("step")))].concat();
    let found = locations(&[field(20, &training), field(25, &function), field(7, &graph)].concat());
    let mut expected = vec!["init", "step", "node", "default", "t", "g", "tensors", "graphs"];
    expected.extend(["sparse_tensor", "sparse_tensor", "sparse_tensors", "sparse_tensors"]);
    expected.extend(["sparse_initializer", "sparse_initializer"]);
    assert_eq!(found, expected);
}

#[test]
fn weights_are_skipped_and_not_read() {
    // A tensor of a tebibyte, of whose weights there is not one byte to read.
    const WEIGHTS: u64 = 1 << 40;
    let tensor = [varint(9 << 3 | 2), varint(WEIGHTS)].concat();
    let graph = [varint(5 << 3 | 2), varint(tensor.len() as u64 + WEIGHTS), tensor].concat();
    let model = [varint(7 << 3 | 2), varint(graph.len() as u64 + WEIGHTS), graph].concat();
    let length = model.len() as u64 + WEIGHTS;
    assert_eq!(external_data(Cursor::new(model), length).unwrap(), []);
}

#[test]
fn a_model_that_nests_too_deep_is_refused() {
    let nested = |levels| (0..levels).fold(Vec::new(), |inner, _| field(1, &field(5, &field(6, &inner))));
    assert_eq!(walk(&field(7, &nested(32))), Ok(vec![]));
    let error = walk(&field(7, &nested(1_000))).unwrap_err();
    assert!(error.starts_with("a message nested too deep at byte "), "{error}");
}

#[test]
fn garbage_is_refused_with_where_it_begins() {
    assert_eq!(walk(b"hello").unwrap_err(), "an unknown kind of field at byte 3");
    assert_eq!(walk(&[0x3a]).unwrap_err(), "a number that is cut off at byte 1");
    assert_eq!(walk(&[0x3a, 5, 0]).unwrap_err(), "a field that reaches past its end at byte 2");
    assert_eq!(walk(&[0xff; 11]).unwrap_err(), "a number that does not end at byte 10");
    assert_eq!(walk(&[0x0b]).unwrap_err(), "an unknown kind of field at byte 1");
    let twice = model(&[tensor(&[("location", "a"), ("location", "b")])]);
    assert!(walk(&twice).unwrap_err().starts_with("external data with the same key twice"));
    let long = model(&[tensor(&[("location", &"a".repeat(4097))])]);
    assert!(walk(&long).unwrap_err().starts_with("an overlong text"));
}

proptest! {
    #[test]
    fn any_bytes_end_the_walk_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = walk(&bytes);
    }

    #[test]
    fn a_model_cut_anywhere_ends_the_walk_without_a_panic(cut in any::<prop::sample::Index>()) {
        let whole = model(&[tensor(&[("location", "a")]), tensor(&[("location", "b")])]);
        let _ = walk(&whole[..cut.index(whole.len())]);
    }
}
