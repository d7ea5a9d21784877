//! A call on its way into the queue: what it asks of it, and the parts that a large one is cut into.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;

use super::lane::Waiting;
use super::reply::{Assembly, Reply};
use super::rules::Rules;
use super::shape::{Alike, Measured, Shaper};
use crate::error::{Error, Result};
use crate::infer::{InferRequest, Interest, Member, Outcome, Parameter, Parameters, Stage, Timeline};

/// How much earlier than its caller's deadline an answer should be ready, or the twenty-fifth part of the call's time where
/// that is less: the caller counts the way to it, too.
const WAY_BACK: Duration = Duration::from_millis(2);

/// What a call asks of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    /// An index into the levels of the rules.
    level: usize,
    /// How long it wants to wait.
    timeout: Option<Duration>,
}

impl Ask {
    /// Reads the parameters `priority` (1 is the most urgent; 0, or a level that there is not, stands for the default)
    /// and `timeout` (microseconds; 0 stands for none).
    ///
    /// # Errors
    /// `Invalid` for a value that is no whole number, `Unsupported` for a call of a sequence.
    pub(super) fn of(parameters: &Parameters, rules: &Rules) -> Result<Ask> {
        let plain = Ask { level: rules.default_level, timeout: None };
        if parameters.is_empty() {
            return Ok(plain);
        }
        refuse_sequences(parameters)?;
        let level = whole(parameters, "priority")?.and_then(|priority| usize::try_from(priority).ok()?.checked_sub(1));
        let level = level.filter(|level| *level < rules.levels.len()).unwrap_or(plain.level);
        let timeout = whole(parameters, "timeout")?.filter(|micros| *micros > 0).map(Duration::from_micros);
        Ok(Ask { level, timeout })
    }
}

fn whole(parameters: &Parameters, name: &str) -> Result<Option<u64>> {
    let wrong = || Error::invalid(format!("parameter {name:?} must be a whole number of 0 or more"));
    match parameters.get(name) {
        None => Ok(None),
        Some(Parameter::Uint(number)) => Ok(Some(*number)),
        Some(Parameter::Int(number)) => u64::try_from(*number).map(Some).map_err(|_| wrong()),
        Some(_) => Err(wrong()),
    }
}

/// A model that keeps state between the calls of a sequence would answer wrongly here, and nobody would know.
fn refuse_sequences(parameters: &Parameters) -> Result<()> {
    match parameters.get("sequence_id") {
        None | Some(Parameter::Int(0) | Parameter::Uint(0)) => Ok(()),
        Some(Parameter::String(id)) if id.is_empty() => Ok(()),
        Some(_) => Err(Error::unsupported("sequences are not served: leave out sequence_id")),
    }
}

/// A call, or its parts, ready to wait; with what its caller holds.
pub(super) struct Entry {
    pub(super) calls: SmallVec<[(Alike, Waiting); 1]>,
    pub(super) answer: oneshot::Receiver<Outcome>,
    pub(super) wait: Wait,
}

/// What a caller knows while it waits.
pub(super) struct Wait {
    pub(super) timeline: Timeline,
    pub(super) deadline: Instant,
    /// When its place in the queue ends, where that is before its deadline.
    pub(super) due: Option<Instant>,
}

impl Entry {
    /// Makes a call that was checked and measured ready to wait.
    ///
    /// # Errors
    /// `Invalid` where it has more rows than may be run, and is not to be run in parts, or in more than may wait.
    pub(super) fn new(
        request: InferRequest,
        measured: Measured,
        ask: Ask,
        rules: &Rules,
        shaper: &Shaper,
        now: Instant,
    ) -> Result<Entry> {
        request.members.iter().for_each(|member| member.timeline.end(Stage::Admit, now));
        let (timeline, deadline) = (request.members[0].timeline.clone(), request.deadline());
        let times = Times::of(ask, deadline, rules, now);
        let wait = Wait { timeline, deadline, due: (times.due < deadline).then_some(times.due) };
        let (caller, answer) = oneshot::channel();
        let calls = if measured.merges && rules.max_batch_is_firm && measured.rows > rules.max_batch {
            parts(request, &measured, times, rules, shaper, caller)?
        } else {
            smallvec![waiting(request, measured, times, Reply::Call(caller))]
        };
        Ok(Entry { calls, answer, wait })
    }

    pub(super) fn level(&self) -> usize {
        self.calls[0].1.level
    }

    pub(super) fn bytes(&self) -> usize {
        self.calls.iter().map(|(_, waiting)| waiting.bytes).sum()
    }

    /// How long it has.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.wait.deadline.saturating_duration_since(now)
    }
}

/// When a call came and until when it may wait.
#[derive(Clone, Copy)]
struct Times {
    level: usize,
    arrived: Instant,
    due: Instant,
    order: Instant,
}

impl Times {
    fn of(ask: Ask, deadline: Instant, rules: &Rules, now: Instant) -> Times {
        let level = &rules.levels[ask.level];
        let own = ask.timeout.filter(|_| level.heeds_callers);
        let timeout = own.into_iter().chain(level.timeout).min();
        let due = timeout.filter(|_| level.rejects).map_or(deadline, |timeout| (now + timeout).min(deadline));
        // Those that wait on after their time go behind all whose time is not over: their deadlines are later.
        Times { level: ask.level, arrived: now, due, order: due }
    }
}

fn waiting(request: InferRequest, measured: Measured, times: Times, reply: Reply) -> (Alike, Waiting) {
    let Measured { alike, rows, merges, elements, padded_elements, own_shape, sizes } = measured;
    let Times { level, arrived, due, order } = times;
    let (bytes, deadline) = (request.bytes(), request.deadline());
    let way_back = WAY_BACK.min(deadline.saturating_duration_since(arrived) / 25);
    let deadline = deadline.checked_sub(way_back).unwrap_or(deadline);
    let waiting = Waiting {
        request: Box::new(request),
        reply,
        interest: Interest::of(1),
        rows,
        merges,
        fills: merges,
        bytes,
        elements,
        padded_elements,
        own_shape,
        nanos: 0.0,
        sizes,
        level,
        arrived,
        deadline,
        due,
        order,
    };
    (alike, waiting)
}

/// A call of more rows than a batch may have, as calls of as many as it may.
fn parts(
    request: InferRequest,
    measured: &Measured,
    times: Times,
    rules: &Rules,
    shaper: &Shaper,
    caller: oneshot::Sender<Outcome>,
) -> Result<SmallVec<[(Alike, Waiting); 1]>> {
    let (rows, most) = (measured.rows, rules.max_batch);
    let axis = shaper.axis.as_ref().expect("a call that can be merged has an axis");
    // Each part takes memory, and rows may take none.
    let taken = if rules.splits_oversized { most.saturating_mul(rules.bounds.calls.max(1)) } else { most };
    if rows > taken {
        return Err(Error::invalid(format!("the call has {rows} rows, at most {taken} are taken")));
    }
    let sizes: Vec<usize> = (0..rows).step_by(most).map(|first| most.min(rows - first)).collect();
    let mut inputs = Vec::new();
    for (index, input) in request.inputs.iter().enumerate() {
        let place = shaper.signature.input_index(input.name(), index).expect("the call was checked");
        inputs.push(input.divided(axis.inputs()[place], &sizes)?.into_iter());
    }
    let (member, signature) = (&request.members[0], shaper.signature.clone());
    let assembly = Assembly::of(sizes.len(), signature, axis.clone(), member.timeline.clone(), caller);
    let part = |index: usize| {
        let member = Member { timeline: Timeline::start(times.arrived), ..member.clone() };
        let mut part = InferRequest {
            model: request.model.clone(),
            outputs: request.outputs.clone(),
            parameters: request.parameters.clone(),
            inputs: inputs.iter_mut().filter_map(Iterator::next).collect(),
            received: None,
            members: smallvec![member],
        };
        let measured = shaper.measure(&mut part);
        waiting(part, measured, times, Reply::Part(Arc::clone(&assembly), index))
    };
    Ok((0..sizes.len()).map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::rules::{Bounds, Level};

    fn rules() -> Rules {
        let levels = vec![Level::default(), Level { heeds_callers: false, ..Level::default() }];
        Rules { levels, default_level: 1, ..Rules::call_by_call(Bounds { calls: 9, bytes: 9 }) }
    }

    fn asked(parameters: &[(&'static str, Parameter)]) -> Result<Ask> {
        let mut given = Parameters::default();
        parameters.iter().for_each(|(name, value)| given.set((*name).into(), value.clone()));
        Ask::of(&given, &rules())
    }

    #[test]
    fn priority_and_timeout_are_read_in_either_spelling() {
        let ask = |level, timeout: Option<u64>| Ok(Ask { level, timeout: timeout.map(Duration::from_micros) });
        assert_eq!(asked(&[]), ask(1, None));
        assert_eq!(asked(&[("priority", Parameter::Uint(1)), ("timeout", Parameter::Int(250))]), ask(0, Some(250)));
        assert_eq!(asked(&[("priority", Parameter::Int(0)), ("timeout", Parameter::Uint(0))]), ask(1, None));
        assert_eq!(asked(&[("priority", Parameter::Uint(u64::MAX))]), ask(1, None));
    }

    #[test]
    fn a_value_of_another_kind_and_a_sequence_are_refused() {
        for (name, value) in [("priority", Parameter::Int(-1)), ("timeout", Parameter::Bool(true))] {
            let error = asked(&[(name, value)]).unwrap_err();
            assert_eq!(error.message(), format!("parameter {name:?} must be a whole number of 0 or more"));
        }
        assert!(asked(&[("sequence_id", Parameter::Int(7))]).is_err());
        assert!(asked(&[("sequence_id", Parameter::Int(0))]).is_ok());
    }

    #[test]
    fn the_shorter_timeout_counts_and_only_where_it_is_heeded_and_rejects() {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(1);
        let due = |level: Level, own: Option<u64>| {
            let rules = Rules { levels: vec![level], ..rules() };
            let ask = Ask { level: 0, timeout: own.map(Duration::from_millis) };
            Times::of(ask, deadline, &rules, now).due - now
        };
        let millis = Duration::from_millis;
        let level = Level { timeout: Some(millis(20)), ..Level::default() };
        assert_eq!(due(level, None), millis(20));
        assert_eq!(due(level, Some(5)), millis(5));
        assert_eq!(due(level, Some(50)), millis(20));
        assert_eq!(due(Level { heeds_callers: false, ..level }, Some(5)), millis(20));
        assert_eq!(due(Level { rejects: false, ..level }, Some(5)), millis(1000));
        assert_eq!(due(Level::default(), Some(5000)), millis(1000));
    }
}
