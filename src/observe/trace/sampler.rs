//! Whether a call is recorded, as far as that can be said when it comes.

use crate::infer::TraceContext;

/// The caller of a call, as far as its trace goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its span.
    pub context: TraceContext,
    /// Whether it leaves it to others whether the trace is recorded.
    pub is_undecided: bool,
    /// Whether what it decided counts. Anybody can say that a call is to be recorded, and recording costs.
    pub is_trusted: bool,
}

/// What is decided of a call when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is recorded, and the processes behind are told so.
    Record,
    /// It is recorded only where it turns out to fail, or to be slow.
    Watch,
    /// It is not, since its caller has decided so.
    Leave,
}

/// How many calls are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Which part of the calls is recorded, where it is for us to decide.
    pub ratio: f64,
    /// Whether what trusted callers have decided is done.
    pub parent_based: bool,
}

impl Sampler {
    /// Decides of a call, with `draw` from 0 up to 1 at random: never by its trace's id, which its caller chooses.
    pub fn decide(&self, caller: Option<&Caller>, draw: f64) -> Decision {
        match caller {
            Some(caller) if self.parent_based && caller.is_trusted && !caller.is_undecided => {
                if caller.context.sampled { Decision::Record } else { Decision::Leave }
            }
            _ if draw < self.ratio => Decision::Record,
            _ => Decision::Watch,
        }
    }
}

/// At most so many calls a second are kept because they failed or were slow: when everything fails, more of them say
/// nothing new, and whoever makes calls fail should not make us record them.
pub(super) const KEPT_LATE: u32 = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn caller(sampled: bool, is_trusted: bool) -> Caller {
        let context = TraceContext { trace_id: 1, span_id: 1, sampled };
        Caller { context, is_undecided: false, is_trusted }
    }

    const HALF: Sampler = Sampler { ratio: 0.5, parent_based: true };

    #[test]
    fn what_a_trusted_caller_decided_is_done() {
        for draw in [0.0, 0.999] {
            assert_eq!(HALF.decide(Some(&caller(true, true)), draw), Decision::Record);
            assert_eq!(HALF.decide(Some(&caller(false, true)), draw), Decision::Leave);
        }
    }

    #[test]
    fn anybody_elses_calls_and_those_without_a_decision_are_drawn() {
        let undecided = Caller { is_undecided: true, ..caller(false, true) };
        for caller in [None, Some(caller(true, false)), Some(caller(false, false)), Some(undecided)] {
            assert_eq!(HALF.decide(caller.as_ref(), 0.49), Decision::Record);
            assert_eq!(HALF.decide(caller.as_ref(), 0.5), Decision::Watch);
        }
        let own = Sampler { parent_based: false, ..HALF };
        assert_eq!(own.decide(Some(&caller(false, true)), 0.0), Decision::Record);
        assert_eq!(own.decide(Some(&caller(true, true)), 0.9), Decision::Watch);
    }

    proptest! {
        #[test]
        fn whoever_is_not_trusted_is_treated_as_nobody(sampled: bool, ratio in 0.0..=1.0, draw in 0.0..1.0) {
            let sampler = Sampler { ratio, parent_based: true };
            prop_assert_eq!(sampler.decide(Some(&caller(sampled, false)), draw), sampler.decide(None, draw));
        }
    }
}
