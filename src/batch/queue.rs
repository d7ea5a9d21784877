//! The queue as plain data: who waits, in the order of their deadlines, within bounds. It knows no clock, no place and
//! no thread; `now` is passed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::infer::{Backlog, InferRequest, Interest, Outcome};

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Calls.
    pub calls: usize,
    /// Bytes of their inputs.
    pub bytes: usize,
}

/// A call that waits, and where its answer goes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Box<InferRequest>,
    pub(super) rows: usize,
    pub(super) reply: oneshot::Sender<Outcome>,
    pub(super) interest: Arc<Interest>,
}

/// The place of a call in the queue: earliest deadline first, and of equal ones in the order in which they came.
pub(super) type Ticket = (Instant, u64);

/// Calls that wait.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    waiting: BTreeMap<Ticket, Waiting>,
    rows: usize,
    bytes: usize,
    next: u64,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Queue {
        Queue { bounds, waiting: BTreeMap::new(), rows: 0, bytes: 0, next: 0 }
    }

    /// What waits; `None` where nothing does.
    pub(super) fn backlog(&self) -> Option<Backlog> {
        let ((earliest_deadline, _), _) = self.waiting.first_key_value()?;
        let earliest_deadline = *earliest_deadline;
        Some(Backlog { calls: self.waiting.len(), rows: self.rows, bytes: self.bytes, earliest_deadline })
    }

    /// Calls that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a call of so many bytes may wait. One that is larger than the bound on bytes waits alone, so that no
    /// bound makes it unanswerable.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= self.bounds.bytes || self.waiting.is_empty();
        fits && self.waiting.len() < self.bounds.calls
    }

    /// Lets a call wait for which there is room.
    pub(super) fn push(&mut self, waiting: Waiting) -> Ticket {
        let ticket = (waiting.request.deadline(), self.next);
        self.next += 1;
        self.bytes += waiting.request.bytes();
        self.rows += waiting.rows;
        self.waiting.insert(ticket, waiting);
        ticket
    }

    /// The call with the earliest deadline, without those whose deadline has passed: they are put into `late`.
    pub(super) fn pop(&mut self, now: Instant, late: &mut Vec<Waiting>) -> Option<Waiting> {
        while let Some((ticket, _)) = self.waiting.first_key_value() {
            let ticket = *ticket;
            let waiting = self.remove(ticket)?;
            if ticket.0 > now {
                return Some(waiting);
            }
            late.push(waiting);
        }
        None
    }

    /// Takes a call out, as when its caller has left.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.waiting.remove(&ticket)?;
        self.bytes -= waiting.request.bytes();
        self.rows -= waiting.rows;
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::infer::{Member, Target, Timeline};
    use crate::tensor::{DType, Shape, Tensor};

    fn waiting(deadline: Instant, bytes: usize) -> Waiting {
        let data = vec![0; bytes];
        let tensor = Tensor::new("x".into(), DType::Uint8, Shape::new(&[bytes as i64]).unwrap(), data.into()).unwrap();
        let member = Member { id: "".into(), deadline, trace: None, timeline: Timeline::start(deadline) };
        let request = InferRequest::new(Target::parse("m".into(), "").unwrap(), [tensor], member);
        Waiting { request: Box::new(request), rows: 1, reply: oneshot::channel().0, interest: Interest::of(1) }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push { deadline: u64, bytes: usize },
        Pop { now: u64 },
        Remove(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..50u64, 0..40usize).prop_map(|(deadline, bytes)| Step::Push { deadline, bytes }),
            (0..60u64).prop_map(|now| Step::Pop { now }),
            any::<prop::sample::Index>().prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_repeated_no_bound_is_passed_and_nothing_late_is_handed_out(
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let start = Instant::now();
            let at = |millis| start + Duration::from_millis(millis);
            let bounds = Bounds { calls: 5, bytes: 100 };
            let mut queue = Queue::new(bounds);
            let mut known: Vec<(Ticket, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Push { deadline, bytes } if queue.has_room(bytes) => {
                        known.push((queue.push(waiting(at(deadline), bytes)), bytes));
                    }
                    Step::Push { bytes, .. } => prop_assert!(
                        known.len() == 5 || known.iter().map(|(_, bytes)| bytes).sum::<usize>() + bytes > 100
                    ),
                    Step::Pop { now } => {
                        let mut late = Vec::new();
                        let popped = queue.pop(at(now), &mut late);
                        prop_assert!(late.iter().all(|late| late.request.deadline() <= at(now)));
                        known.sort();
                        known.drain(..late.len());
                        if let Some(popped) = popped {
                            prop_assert!(popped.request.deadline() > at(now));
                            prop_assert_eq!(popped.request.deadline(), known.remove(0).0.0);
                        } else {
                            prop_assert!(known.is_empty());
                        }
                    }
                    Step::Remove(index) if !known.is_empty() => {
                        let (ticket, _) = known.remove(index.index(known.len()));
                        prop_assert!(queue.remove(ticket).is_some());
                        prop_assert!(queue.remove(ticket).is_none());
                    }
                    Step::Remove(_) => {}
                }
                let backlog = queue.backlog();
                prop_assert_eq!(backlog.as_ref().map_or(0, |backlog| backlog.calls), known.len());
                let bytes: usize = known.iter().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(backlog.map_or(0, |backlog| backlog.bytes), bytes);
            }
        }
    }

    #[test]
    fn a_call_over_the_bound_on_bytes_waits_alone() {
        let mut queue = Queue::new(Bounds { calls: 5, bytes: 10 });
        let deadline = Instant::now();
        assert!(queue.has_room(11));
        queue.push(waiting(deadline, 11));
        assert!(!queue.has_room(1));
    }
}
