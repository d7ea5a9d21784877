//! What the endpoints of a pool may lose to their breakers together: never so many that the rest drown.

use std::time::Duration;

use crate::error::{Error, Kind};

/// How one endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// Calls go to it.
    Admitting,
    /// Its breaker keeps calls away.
    Ejected {
        /// What share of calls it is thought to answer, from 0 to 1.
        success: f64,
    },
    /// It has no connection. Nothing can be sent to it, whatever is decided.
    Dead,
}

/// What is to be done against the breakers' will.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relief {
    /// Which of the ejected get calls all the same, by their place in what was asked, best first; all others do not.
    pub spared: Vec<usize>,
    /// Whether those that are ejected are to be tried soon rather than when their penalties are over.
    pub hurry: bool,
}

/// An endpoint that fails more than it answers relieves nobody: what it fails comes back as retries. Where many are so,
/// trying each with one call at a time finds out sooner who is well.
const USEFUL: f64 = 0.5;

/// The rest is not loaded beyond this for the sake of an ejection: from here on waiting grows out of proportion (in a
/// fleet at .95 of its capacity calls wait half as long again as at .85).
const MOST_LOAD: f64 = 0.9;

/// Decides over the endpoints of a pool. `work` is how much there is to do, in endpoints: 2.5 where two and a half would
/// be busy all the time with it.
///
/// At least half of those that have a connection stay in use, and so many that the work loads them to 90 % at most, as
/// far as there are ejected ones that still answer half of their calls. More than half at fault is a hint that the fault
/// is not theirs. It holds for pools of any size: of two endpoints one can be ejected, and a single one is only when it
/// answers less than half of its calls.
///
/// Where nobody is left, calls fail at once instead of all being sent to who does not answer, and each endpoint is tried
/// with one call every tenth of a second. (Envoy's panic sends calls to all; to frozen backends that is a caller waiting
/// until its deadline for nothing.)
pub fn relieve(standings: &[Standing], work: f64) -> Relief {
    let reachable = standings.iter().filter(|standing| **standing != Standing::Dead).count();
    let admitting = standings.iter().filter(|standing| **standing == Standing::Admitting).count();
    let least = reachable - reachable / 2;
    let (mut spared, mut capacity) = (Vec::new(), admitting as f64);
    for (at, success) in useful(standings) {
        if admitting + spared.len() >= least && work <= capacity * MOST_LOAD {
            break;
        }
        spared.push(at);
        capacity += success;
    }
    let hurry = admitting == 0 && spared.is_empty();
    Relief { spared, hurry }
}

/// The ejected that are of use, best first.
fn useful(standings: &[Standing]) -> Vec<(usize, f64)> {
    let ejected = standings.iter().enumerate().filter_map(|(at, standing)| match standing {
        Standing::Ejected { success } if *success >= USEFUL => Some((at, *success)),
        _ => None,
    });
    let mut useful: Vec<_> = ejected.collect();
    useful.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    useful
}

/// The answer to a call for which no endpoint is ready; `next` is when the first of them may be again.
pub fn nobody_ready(standings: &[Standing], next: Option<Duration>) -> Error {
    let dead = standings.iter().filter(|standing| **standing == Standing::Dead).count();
    let message = match standings.len() {
        0 => "there is no backend".to_owned(),
        all => format!("none of {all} backends is ready: {} failed too much, {dead} have no connection", all - dead),
    };
    // Without a hint clients come back at once; a tenth of a second is how often each backend is tried.
    Error::new(Kind::NoBackend, message).after(next.unwrap_or(SOON).max(SOON))
}

const SOON: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Standing::{Admitting, Dead, Ejected};
    use super::*;

    fn ejected(success: f64) -> Standing {
        Ejected { success }
    }

    #[test]
    fn one_of_few_can_be_ejected_and_the_last_one_only_when_it_is_of_no_use() {
        let none = Relief::default();
        assert_eq!(relieve(&[Admitting, ejected(0.7)], 0.5), none);
        assert_eq!(relieve(&[Admitting, Admitting, ejected(0.7)], 1.0), none);
        assert_eq!(relieve(&[ejected(0.7)], 0.1), Relief { spared: vec![0], hurry: false });
        assert_eq!(relieve(&[ejected(0.2)], 0.1), Relief { spared: vec![], hurry: true });
    }

    #[test]
    fn where_more_than_half_are_ejected_the_best_of_them_stay_in_use() {
        let standings = [ejected(0.6), ejected(0.79), ejected(0.1), Admitting, Dead];
        assert_eq!(relieve(&standings, 0.1), Relief { spared: vec![1], hurry: false });
    }

    #[test]
    fn where_the_rest_would_drown_more_stay_in_use() {
        let standings = [Admitting, Admitting, ejected(0.5), ejected(0.75)];
        assert_eq!(relieve(&standings, 1.8), Relief::default());
        assert_eq!(relieve(&standings, 2.0).spared, [3]);
        assert_eq!(relieve(&standings, 4.0).spared, [3, 2]);
    }

    #[test]
    fn where_nobody_is_left_they_are_tried_soon_and_callers_are_told_when_to_come_back() {
        let standings = [ejected(0.0), ejected(0.3), Dead];
        assert!(relieve(&standings, 3.0).hurry);
        let error = nobody_ready(&standings, Some(Duration::from_millis(150)));
        assert_eq!(error.message(), "none of 3 backends is ready: 2 failed too much, 1 have no connection");
        assert_eq!((error.kind(), error.retry_after()), (Kind::NoBackend, Some(Duration::from_millis(150))));
        assert_eq!(nobody_ready(&[], None).retry_after(), Some(SOON));
    }

    fn any_standing() -> impl Strategy<Value = Standing> {
        prop_oneof![Just(Admitting), Just(Dead), (0.0..1.0f64).prop_map(ejected)]
    }

    proptest! {
        #[test]
        fn half_stay_in_use_and_bear_the_work_as_far_as_anybody_useful_is_left(
            standings in prop::collection::vec(any_standing(), 0..12), work in 0.0..12.0f64
        ) {
            let Relief { spared, hurry } = relieve(&standings, work);
            let success = |at: &usize| match standings[*at] { Ejected { success } => success, _ => 0.0 };
            prop_assert!(spared.iter().all(|at| success(at) >= USEFUL));
            let count = |wanted: Standing| standings.iter().filter(|standing| **standing == wanted).count();
            let (admitting, reachable) = (count(Admitting), standings.len() - count(Dead));
            let useful = (0..standings.len()).filter(|at| success(at) >= USEFUL).count();
            let capacity = admitting as f64 + spared.iter().map(success).sum::<f64>();
            let enough = 2 * (admitting + spared.len()) >= reachable && work <= capacity * MOST_LOAD;
            prop_assert!(enough || spared.len() == useful);
            prop_assert_eq!(hurry, admitting + spared.len() == 0);
        }
    }
}
