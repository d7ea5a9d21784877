//! For tests: the same message in another spelling. Protobuf lets a writer put fields in any order, repeat singular
//! ones, cut messages and lists in pieces and add what a reader does not know; every reader must take all of it.

use fastrand::Rng;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// What may be done to a field without changing what the message means.
pub(super) enum Field {
    /// Singular and no message: the last occurrence counts, so another may come before it.
    Last,
    /// A singular message: its occurrences merge.
    Merged(Schema),
    /// A repeated message or an entry of a map.
    Each(Schema),
    /// Repeated bytes or strings.
    Kept,
    /// Repeated numbers of one wire type, packed in one occurrence.
    Packed(WireType),
}

/// The fields of a message by number.
pub(super) type Schema = &'static [(u32, Field)];

/// Another spelling of `message`.
pub(super) fn scramble(message: &[u8], schema: Schema, rng: &mut Rng) -> Vec<u8> {
    respell(message, schema, rng).concat()
}

/// The fields of another spelling, in order.
fn respell(mut message: &[u8], schema: Schema, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut occurrences: Vec<(u32, Vec<u8>)> = Vec::new();
    while !message.is_empty() {
        let (number, wire_type) = decode_key(&mut message).unwrap();
        let payload = split_payload(&mut message, wire_type);
        let field = schema.iter().find(|(known, _)| *known == number).map(|(_, field)| field);
        let respelled = respell_field(number, wire_type, payload, field.expect("every field is in the schema"), rng);
        occurrences.extend(respelled.into_iter().map(|occurrence| (number, occurrence)));
    }
    let mut fields = shuffled(occurrences, rng);
    for _ in 0..rng.usize(..3) {
        fields.insert(rng.usize(..=fields.len()), unknown(rng));
    }
    fields
}

/// Any order in which the occurrences of each number keep theirs.
fn shuffled(occurrences: Vec<(u32, Vec<u8>)>, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut numbers: Vec<u32> = occurrences.iter().map(|(number, _)| *number).collect();
    rng.shuffle(&mut numbers);
    let mut left = occurrences;
    let mut take = |number| left.remove(left.iter().position(|(known, _)| *known == number).unwrap()).1;
    numbers.into_iter().map(&mut take).collect()
}

fn respell_field(number: u32, wire_type: WireType, payload: &[u8], field: &Field, rng: &mut Rng) -> Vec<Vec<u8>> {
    let whole = occurrence(number, wire_type, payload);
    match field {
        Field::Kept => vec![whole],
        Field::Last if rng.bool() => vec![whole],
        Field::Last => vec![occurrence(number, wire_type, decoy(wire_type)), whole],
        Field::Each(schema) => vec![delimited(number, &scramble(payload, schema, rng))],
        Field::Merged(schema) => {
            let fields = respell(payload, schema, rng);
            let (first, second) = fields.split_at(rng.usize(..=fields.len()));
            vec![delimited(number, &first.concat()), delimited(number, &second.concat())]
        }
        Field::Packed(element) if wire_type == WireType::LengthDelimited => unpacked(number, *element, payload, rng),
        Field::Packed(_) => vec![whole],
    }
}

/// A packed list as several, some of them with a tag before each element.
fn unpacked(number: u32, element: WireType, mut packed: &[u8], rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut pending = Vec::new();
    while !packed.is_empty() {
        let payload = split_payload(&mut packed, element);
        pending.extend_from_slice(payload);
        match rng.u8(..4) {
            0 => pieces.push(delimited(number, &std::mem::take(&mut pending))),
            1 if pending.len() == payload.len() => {
                pending.clear();
                pieces.push(occurrence(number, element, payload));
            }
            _ => {}
        }
    }
    // An empty list may stand on the wire too.
    pieces.push(delimited(number, &pending));
    pieces
}

fn unknown(rng: &mut Rng) -> Vec<u8> {
    let number = rng.u32(1000..1 << 29);
    match rng.u8(..5) {
        0 => occurrence(number, WireType::Varint, &[0xff, 0x01]),
        1 => occurrence(number, WireType::SixtyFourBit, &[7; 8]),
        2 => delimited(number, b"\xff not text"),
        3 => occurrence(number, WireType::ThirtyTwoBit, &[7; 4]),
        _ => {
            let inner = [occurrence(1, WireType::Varint, &[1]), delimited(2, b"in a group")].concat();
            [occurrence(number, WireType::StartGroup, &inner), occurrence(number, WireType::EndGroup, &[])].concat()
        }
    }
}

fn decoy(wire_type: WireType) -> &'static [u8] {
    match wire_type {
        WireType::Varint => &[1],
        WireType::LengthDelimited => b"decoy",
        WireType::SixtyFourBit => &[0x55; 8],
        _ => &[0x55; 4],
    }
}

/// One field: tag, length where there is one, payload.
fn occurrence(number: u32, wire_type: WireType, payload: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    encode_key(number, wire_type, &mut field);
    if wire_type == WireType::LengthDelimited {
        encode_varint(payload.len() as u64, &mut field);
    }
    field.extend_from_slice(payload);
    field
}

/// A length-delimited field.
pub(super) fn delimited(number: u32, payload: &[u8]) -> Vec<u8> {
    occurrence(number, WireType::LengthDelimited, payload)
}

fn split_payload<'a>(rest: &mut &'a [u8], wire_type: WireType) -> &'a [u8] {
    let len = match wire_type {
        WireType::Varint => rest.iter().position(|byte| *byte < 0x80).unwrap() + 1,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => decode_varint(rest).unwrap() as usize,
        WireType::ThirtyTwoBit => 4,
        WireType::StartGroup | WireType::EndGroup => panic!("our messages have no groups"),
    };
    let (payload, after) = rest.split_at(len);
    *rest = after;
    payload
}
