//! Where a call's time went, from a worker to the gateway that asked it: durations in few bytes, since they go with every
//! answer. Times of day are never told: two machines' clocks are not comparable.

use std::time::Duration;

use http::HeaderName;
use smallvec::SmallVec;

use super::binary;
use crate::infer::{Close, Composition, Spent, Stage};

/// The trailer that carries them.
pub const TRAILER: HeaderName = HeaderName::from_static("infergate-stages-bin");

/// Nanoseconds that they are counted in.
const UNIT: u64 = 100;

/// What follows the stages' numbers: what no stage accounts for, and how the batch came about.
const OTHER: u64 = Stage::COUNT as u64;
const ROWS: u64 = OTHER + 1;
const MEMBERS: u64 = OTHER + 2;
const CLOSED: u64 = OTHER + 3;
const PADDING: u64 = OTHER + 4;

/// Bits of an entry that say what it is of.
const KIND: u32 = 4;

/// What a worker tells of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Where its time went.
    pub spent: Spent,
    /// Rows of its batch, without padding.
    pub rows: usize,
    /// Calls in its batch.
    pub members: u32,
    /// Why the batch was closed.
    pub closed: Close,
    /// Elements of padding among its inputs.
    pub padding: usize,
}

impl Told {
    /// Of a call that ran in such a batch.
    pub fn new(spent: Spent, composition: &Composition, members: u32) -> Told {
        let Composition { rows, padding, closed, .. } = *composition;
        Told { spent, rows, members, closed, padding }
    }
}

/// A value of [`TRAILER`]: varints, each with what it is of in its lowest bits and how much above them. What is as it is
/// with a call that runs alone is left out.
pub fn trailer(told: &Told) -> String {
    let mut bytes = SmallVec::<[u8; 64]>::new();
    told.spent.tell::<UNIT>(|stage, units| {
        if units > 0 {
            put(&mut bytes, stage.map_or(OTHER, |stage| stage as u64), units);
        }
    });
    let beside = [
        (ROWS, told.rows as u64, 1),
        (MEMBERS, u64::from(told.members), 1),
        (CLOSED, told.closed as u64, Close::SlotFree as u64),
        (PADDING, told.padding as u64, 0),
    ];
    beside.into_iter().filter(|(_, value, usual)| value != usual).for_each(|(kind, value, _)| {
        put(&mut bytes, kind, value);
    });
    binary::encode(&bytes)
}

fn put(out: &mut SmallVec<[u8; 64]>, kind: u64, value: u64) {
    let mut left = value.min(u64::MAX >> KIND) << KIND | kind;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Reads a value of [`TRAILER`]; `None` where it is malformed. Of what it says twice, times add up and the last of the rest
/// counts.
pub fn read(value: &[u8]) -> Option<Told> {
    let bytes = binary::decode(value)?;
    let (spent, closed) = (Spent::default(), Close::SlotFree);
    let mut told = Told { spent, rows: 1, members: 1, closed, padding: 0 };
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (kind, value) = take(&mut rest)?;
        let time = || Duration::from_nanos(value.saturating_mul(UNIT));
        match kind {
            OTHER => told.spent.add(None, time()),
            ROWS => told.rows = usize::try_from(value).ok()?,
            MEMBERS => told.members = u32::try_from(value).ok()?,
            CLOSED => told.closed = *Close::ALL.get(usize::try_from(value).ok()?)?,
            PADDING => told.padding = usize::try_from(value).ok()?,
            stage => told.spent.add(Some(*Stage::ALL.get(stage as usize)?), time()),
        }
    }
    Some(told)
}

/// One entry; what does not fit into 64 bits is malformed.
fn take(rest: &mut &[u8]) -> Option<(u64, u64)> {
    let mut whole = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        whole |= u64::from(byte & 0x7f).checked_mul(1 << shift)?;
        if byte & 0x80 == 0 {
            return Some((whole & ((1 << KIND) - 1), whole >> KIND));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(stages: &[(Stage, u64)], other: u64) -> Told {
        let mut spent = Spent::default();
        stages.iter().for_each(|(stage, nanos)| spent.add(Some(*stage), Duration::from_nanos(*nanos)));
        spent.add(None, Duration::from_nanos(other));
        Told { spent, rows: 1, members: 1, closed: Close::SlotFree, padding: 0 }
    }

    #[test]
    fn a_usual_call_takes_few_bytes() {
        use Stage::{Admit, Encode, Execute, Merge, Queue, Receive, Return, Split};
        let usual = [(Receive, 9_100), (Admit, 2_300), (Queue, 14_000), (Merge, 1_200), (Execute, 152_000)];
        let stages = [&usual[..], &[(Split, 3_000), (Return, 11_000), (Encode, 2_000)]].concat();
        let value = trailer(&told(&stages, 0));
        assert!(value.len() <= 24, "{value}");
        assert_eq!(read(value.as_bytes()).unwrap(), told(&stages, 0));
    }

    #[test]
    fn junk_is_nothing() {
        let of = |bytes: &[u8]| read(binary::encode(bytes).as_bytes());
        assert_eq!(of(&[]), Some(told(&[], 0)));
        assert_eq!(read(b"no base64!"), None);
        assert_eq!(of(&[0x80]), None, "it ends within an entry");
        assert_eq!(of(&[0xff; 10]), None, "more than 64 bits");
        assert_eq!(of(&[CLOSED as u8 | 0x70]), None, "there is no such reason");
    }

    proptest! {
        #[test]
        fn what_is_told_is_read_cut_to_units(
            times in prop::array::uniform12(0..1u64 << 50),
            (rows, members, padding) in (any::<u32>(), any::<u32>(), any::<u32>()),
            closed in 0..Close::ALL.len(),
        ) {
            let stages: Vec<_> = Stage::ALL.into_iter().zip(times).collect();
            let beside = Told { rows: rows as usize, members, padding: padding as usize, closed: Close::ALL[closed],
                ..told(&stages, times[11]) };
            let read = read(trailer(&beside).as_bytes()).unwrap();
            let (total, cut) = (beside.spent.total(), read.spent.total());
            prop_assert!(cut <= total && total - cut < Duration::from_nanos(UNIT));
            prop_assert_eq!(Told { spent: beside.spent, ..read }, beside);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(told) = read(binary::encode(&bytes).as_bytes()) {
                _ = told.spent.total();
                _ = trailer(&told);
            }
        }
    }
}
