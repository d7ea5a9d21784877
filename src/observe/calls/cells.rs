//! The cells that durations are counted in. Their borders are those of both views of a histogram, of the classic one and of
//! the exponential one, so that a single addition serves both, and both exactly.

use crate::observe::exponential::SCHEMA;

/// Upper bounds of the classic view in nanoseconds: three to a decade, from 10 us to 60 s.
pub(super) const BOUNDS: [u64; 21] = {
    let mut bounds = [0; 21];
    let mut at = 0;
    let mut decade = 10_000;
    while at < 18 {
        bounds[at] = decade;
        bounds[at + 1] = 2 * decade;
        bounds[at + 2] = 5 * decade;
        decade *= 10;
        at += 3;
    }
    bounds[18] = 10_000_000_000;
    bounds[19] = 20_000_000_000;
    bounds[20] = 60_000_000_000;
    bounds
};

/// One for each bound, and one for what is over the last.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// Edges of the exponential view lie at every so manieth part of a doubling, from that power of two of a second to this:
/// from 0.95 us to 17 minutes, which is longer than any call may take unless somebody says so. What is below is told as
/// nothing, and what is above as just above.
const STEPS: usize = 1 << SCHEMA;
const LOWEST: i32 = -20;
const HIGHEST: i32 = 10;
const EDGES: usize = (HIGHEST - LOWEST) as usize * STEPS + 1;

/// The roots of two, of which each has 60 bits behind its point: enough for every edge to be right to the nanosecond.
const ROOTS: [u128; STEPS] =
    [1_152_921_504_606_846_976, 1_371_062_456_318_104_877, 1_630_477_228_166_597_776, 1_938_975_120_585_633_118];

/// The edges in whole nanoseconds, rounded down: no duration lies between them and what they stand for.
const EXPONENTIAL: [u64; EDGES] = {
    let mut edges = [0; EDGES];
    let mut at = 0;
    while at < EDGES {
        let doublings = LOWEST + (at / STEPS) as i32;
        edges[at] = ((1_000_000_000 * ROOTS[at % STEPS]) >> (60 - doublings)) as u64;
        at += 1;
    }
    edges
};

/// Where the cells are: one for each border, and one for what is over the last.
pub(super) const CELLS: usize = BORDERS + 1;
const BORDERS: usize = {
    let mut equal = 0;
    let mut at = 0;
    while at < BOUNDS.len() {
        let mut edge = 0;
        while edge < EDGES {
            if BOUNDS[at] == EXPONENTIAL[edge] {
                equal += 1;
            }
            edge += 1;
        }
        at += 1;
    }
    BOUNDS.len() + EDGES - equal
};

/// The bounds of both, in order. What stands behind the last is over every duration.
const UNION: [u64; BORDERS + 2] = {
    let mut union = [u64::MAX; BORDERS + 2];
    let (mut bound, mut edge, mut at) = (0, 0, 0);
    while at < BORDERS {
        let next_bound = if bound < BOUNDS.len() { BOUNDS[bound] } else { u64::MAX };
        let next_edge = if edge < EDGES { EXPONENTIAL[edge] } else { u64::MAX };
        union[at] = if next_bound < next_edge { next_bound } else { next_edge };
        bound += (next_bound == union[at]) as usize;
        edge += (next_edge == union[at]) as usize;
        at += 1;
    }
    union
};

/// A number's length in bits with the three bits behind the first: an eighth of a doubling.
const fn key(nanos: u64) -> usize {
    // So that there are three; nothing so short has a cell of its own.
    let nanos = nanos | 8;
    let shift = 60 - nanos.leading_zeros();
    ((shift as usize) << 3) + (nanos >> shift) as usize
}

const KEYS: usize = key(u64::MAX) + 1;

/// The cell of the shortest duration of each key.
const FIRST: [u8; KEYS] = {
    let mut first = [0; KEYS];
    let mut key = 16;
    while key < KEYS {
        let shortest = (8 + key as u64 % 8) << (key / 8 - 1);
        let mut cell = first[key - 1];
        while (cell as usize) < BORDERS && UNION[cell as usize] < shortest {
            cell += 1;
        }
        first[key] = cell;
        key += 1;
    }
    first
};

/// The cell of a duration. Among those of one key lie two borders at most.
#[inline]
pub(super) fn cell(nanos: u64) -> usize {
    let first = usize::from(FIRST[key(nanos)]);
    first + usize::from(UNION[first] < nanos) + usize::from(UNION[first + 1] < nanos)
}

/// Which of `bounds` each cell lies beneath.
const fn beneath<const N: usize>(bounds: &[u64; N]) -> [u8; CELLS] {
    let mut beneath = [N as u8; CELLS];
    let (mut cell, mut bound) = (0, 0);
    while cell < BORDERS {
        while bound < N && bounds[bound] < UNION[cell] {
            bound += 1;
        }
        beneath[cell] = bound as u8;
        cell += 1;
    }
    beneath
}

const CLASSIC_OF: [u8; CELLS] = beneath(&BOUNDS);
const EXPONENTIAL_OF: [u8; CELLS] = beneath(&EXPONENTIAL);

/// The bucket of a duration in the classic view.
pub(super) fn bucket(nanos: u64) -> usize {
    usize::from(CLASSIC_OF[cell(nanos)])
}

/// What is counted in the cells as the classic view has it.
pub(super) fn classic(cells: &[u64; CELLS]) -> [u64; BUCKETS] {
    let mut counts = [0; BUCKETS];
    CLASSIC_OF.iter().zip(cells).for_each(|(bucket, count)| counts[usize::from(*bucket)] += count);
    counts
}

/// The upper edge of what is told as nothing, in seconds.
pub(super) fn zero_threshold() -> f64 {
    f64::from(LOWEST).exp2()
}

/// What is counted in the cells as the exponential view has it: what is told as nothing, then each bucket in which
/// anything is, in order, by its number. Number `n` ends at two to the power of `n` steps, in seconds.
pub(super) fn exponential(cells: &[u64; CELLS]) -> (u64, Vec<(i32, u64)>) {
    let mut counts = [0; EDGES + 1];
    EXPONENTIAL_OF.iter().zip(cells).for_each(|(bucket, count)| counts[usize::from(*bucket)] += count);
    let numbered = (LOWEST * STEPS as i32..).zip(counts);
    (counts[0], numbered.skip(1).filter(|(_, count)| *count > 0).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The upper edge of a bucket, in seconds, as those compute it who read it.
    fn edge(number: i32) -> f64 {
        (f64::from(number) / STEPS as f64).exp2()
    }

    fn counted(nanos: &[u64]) -> [u64; CELLS] {
        let mut cells = [0; CELLS];
        nanos.iter().for_each(|nanos| cells[cell(*nanos)] += 1);
        cells
    }

    /// Where a duration belongs by looking at every edge.
    fn by_looking(nanos: u64) -> i32 {
        let seconds = nanos as f64 / 1e9;
        let all = LOWEST * STEPS as i32..=HIGHEST * STEPS as i32;
        all.clone().find(|number| seconds <= edge(*number)).unwrap_or(all.end() + 1)
    }

    /// Durations of every length, and those beside a border.
    fn durations() -> impl Strategy<Value = u64> {
        let any = (any::<u64>(), 0u32..64).prop_map(|(nanos, shift)| nanos >> shift);
        let beside = (0..BORDERS, 0u64..3).prop_map(|(border, by)| UNION[border] - 1 + by);
        prop_oneof![any, beside]
    }

    proptest! {
        #[test]
        fn both_views_of_the_cells_are_what_looking_at_every_bound_gives(
            nanos in prop::collection::vec(durations(), 0..200),
        ) {
            let cells = counted(&nanos);
            let mut expected = [0; BUCKETS];
            nanos.iter().for_each(|nanos| expected[BOUNDS.partition_point(|bound| bound < nanos)] += 1);
            prop_assert_eq!(classic(&cells), expected);
            let (zero, buckets) = exponential(&cells);
            let lowest = LOWEST * STEPS as i32;
            for number in lowest + 1..=HIGHEST * STEPS as i32 + 1 {
                let told = buckets.iter().find(|(other, _)| *other == number).map_or(0, |(_, count)| *count);
                let expected = nanos.iter().filter(|nanos| by_looking(**nanos) == number).count();
                prop_assert_eq!(told, expected as u64, "{}", number);
            }
            prop_assert_eq!(zero, nanos.iter().filter(|nanos| by_looking(**nanos) == lowest).count() as u64);
            let all: u64 = zero + buckets.iter().map(|(_, count)| count).sum::<u64>();
            prop_assert_eq!(all, nanos.len() as u64);
        }
    }

    #[test]
    fn a_border_belongs_to_its_own_cell_and_what_is_over_the_last_to_none() {
        assert!(UNION[..BORDERS].is_sorted_by(|one, next| one < next) && UNION[BORDERS..] == [u64::MAX; 2]);
        for nanos in UNION[..BORDERS].iter().copied().chain((0..u64::BITS).map(|bit| 1 << bit)) {
            for nanos in [nanos - 1, nanos, nanos + 1] {
                assert_eq!(cell(nanos), UNION[..BORDERS].partition_point(|border| *border < nanos), "{nanos}");
            }
        }
        assert_eq!((cell(0), cell(u64::MAX)), (0, BORDERS));
        assert_eq!((bucket(0), bucket(10_000), bucket(10_001), bucket(20_000)), (0, 0, 1, 1));
        assert_eq!((bucket(60_000_000_000), bucket(60_000_000_001)), (BOUNDS.len() - 1, BOUNDS.len()));
    }

    #[test]
    fn a_second_is_an_edge_of_both_views() {
        let second = 1_000_000_000;
        assert_eq!(exponential(&counted(&[second, second + 1])), (0, vec![(0, 1), (1, 1)]));
        assert_eq!(exponential(&counted(&[953, 954])).0, 1);
        assert_eq!(exponential(&counted(&[u64::MAX])), (0, vec![(HIGHEST * STEPS as i32 + 1, 1)]));
    }
}
