//! What endpoints say of the nature of models, in ModelConfig. Workers give each nature a number in their index, so that
//! one of them is asked for all that give the same, once, and again when another number comes. Whoever gives none is
//! asked from time to time; never each endpoint about each model.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tonic::Code;

use super::census::Told;
use super::mergeable::Mergeable;
use super::survey::{AT_ONCE, PATIENCE, client};
use crate::balance::endpoint::Endpoint;
use crate::balance::now;
use crate::infer::{ModelName, Version};
use crate::wire::proto::inference as proto;

/// So many surveys long holds what was said without a number.
const LASTS: u32 = 12;

/// What an endpoint says of the nature of a version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// Whether running a call twice is as good as running it once.
    pub pure: Option<bool>,
    /// Rows of a batch there.
    pub largest: Option<u32>,
    /// How its calls are put together, where they are.
    pub mergeable: Option<Arc<Mergeable>>,
}

impl Said {
    fn of(config: &proto::ModelConfig) -> Said {
        Said {
            pure: parameter(config, "infergate.pure").map(|said| said == "true"),
            largest: parameter(config, "infergate.max_batch").and_then(|said| said.parse().ok()),
            mergeable: Mergeable::of(config).map(Arc::new),
        }
    }
}

fn parameter<'a>(config: &'a proto::ModelConfig, key: &str) -> Option<&'a str> {
    config.parameters.get(key).map(|parameter| parameter.string_value.as_str())
}

/// What was said, or `None` by who does not know the question. Whoever comes while that is asked waits for it.
type Answer = Arc<OnceCell<Option<Arc<Said>>>>;

/// All that was said, by what it holds for.
#[derive(Default)]
pub(super) struct Natures {
    answers: Mutex<HashMap<(ModelName, For), Kept>>,
}

/// For whom something was said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum For {
    /// For all that give this number, without end.
    Number(NonZeroU64),
    /// For all that give none, for a while.
    Unnumbered(Option<Version>),
    /// For one that gives none, for one survey: a version that was loaded again may be another model, and calls that
    /// must not be put together would be answered wrongly. That it does not know the question holds for a while.
    Alone(SocketAddr, Option<Version>),
}

/// What was said or is being asked, and until when it holds where that is for a while.
struct Kept {
    answer: Answer,
    until: Instant,
}

impl Kept {
    fn holds(&self, of: &For, now: Instant) -> bool {
        match (of, self.answer.get()) {
            (For::Number(_), _) | (_, None) => true,
            (For::Alone(..), Some(Some(_))) => false,
            _ => now < self.until,
        }
    }

    /// Whether nobody asks, and nobody has what was said.
    fn is_unused(&self, now: Instant) -> bool {
        let has_none = match self.answer.get() {
            Some(Some(said)) => Arc::strong_count(said) == 1,
            Some(None) => now >= self.until,
            None => true,
        };
        Arc::strong_count(&self.answer) == 1 && has_none
    }
}

impl Natures {
    /// What was said of a version as `endpoint` tells of it, or the place for that. `is_merged` where its calls are put
    /// together here; what holds for a while holds for about `lasts`.
    fn answer(&self, told: &Told, endpoint: SocketAddr, is_merged: bool, lasts: Duration, now: Instant) -> Answer {
        let of = match told.nature {
            Some(number) => For::Number(number),
            None if is_merged => For::Alone(endpoint, told.version),
            None => For::Unnumbered(told.version),
        };
        let key = (told.name.clone(), of);
        let mut answers = self.answers.lock().expect("nothing panics while it holds what was said");
        if let Some(kept) = answers.get(&key).filter(|kept| kept.holds(&key.1, now)) {
            return kept.answer.clone();
        }
        // Room is made for it first, so that there are never many that nobody has.
        if answers.len() == answers.capacity() {
            answers.retain(|_, kept| !kept.is_unused(now));
        }
        let answer = Answer::default();
        let until = now + lasts.mul_f64(0.8 + 0.4 * fastrand::f64());
        answers.insert(key, Kept { answer: answer.clone(), until });
        answer
    }

    /// Notes in `ready` what is said of the nature of each, after asking `endpoint` for what nobody has said yet. What it
    /// does not say in time stays unknown until it is surveyed next.
    pub(super) async fn note(
        &self,
        endpoint: &Arc<Endpoint>,
        ready: Vec<&mut Told>,
        is_merged: impl Fn(&ModelName) -> bool,
        survey: Duration,
    ) {
        let (now, lasts) = (now(), survey.saturating_mul(LASTS));
        let answer = |told: &Told| self.answer(told, endpoint.address(), is_merged(&told.name), lasts, now);
        let noted: Vec<(Answer, &mut Told)> = ready.into_iter().map(|told| (answer(told), told)).collect();
        // Of a fleet that comes up at once nearly all wait for the answers to a few: nothing is copied for that.
        let noted_so_far = &noted;
        let unknown = (0..noted.len()).filter(|at| noted_so_far[*at].0.get().is_none());
        let asking = unknown.map(|at| async move {
            let (answer, told) = &noted_so_far[at];
            let _ = answer.get_or_try_init(|| ask(endpoint, told)).await;
        });
        let _ = timeout(PATIENCE, iter(asking).buffer_unordered(AT_ONCE).collect::<()>()).await;
        for (answer, told) in noted {
            told.said = answer.get().cloned().flatten();
        }
    }
}

/// There was no answer, or not to what was asked.
struct NoAnswer;

/// What an endpoint says of a version; nothing where it does not know the question, or the model.
async fn ask(endpoint: &Arc<Endpoint>, told: &Told) -> Result<Option<Arc<Said>>, NoAnswer> {
    let version = told.version.map(|version| version.to_string()).unwrap_or_default();
    let request = proto::ModelConfigRequest { name: told.name.to_string(), version };
    match timeout(PATIENCE, client(endpoint).model_config(request)).await {
        Ok(Ok(answer)) => {
            let config = answer.into_inner().config.unwrap_or_default();
            let number = parameter(&config, "infergate.nature").and_then(|said| said.parse().ok());
            // It may have been loaded again after it gave the number.
            let is_asked = told.nature.is_none() || told.nature == number;
            if is_asked { Ok(Some(Arc::new(Said::of(&config)))) } else { Err(NoAnswer) }
        }
        Ok(Err(status))
            if told.nature.is_none() && !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) =>
        {
            Ok(None)
        }
        _ => Err(NoAnswer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTING: Duration = Duration::from_secs(60);

    fn told(nature: u64) -> Told {
        let (name, version) = ("m".parse().unwrap(), Version::new(1));
        Told { name, version, ready: true, reason: String::new(), nature: NonZeroU64::new(nature), said: None }
    }

    fn endpoint(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn said(answer: &Answer) -> Arc<Said> {
        let said = Arc::new(Said::default());
        answer.set(Some(said.clone())).unwrap();
        said
    }

    #[test]
    fn one_is_asked_for_all_that_give_the_same_number_and_again_for_another() {
        let (natures, now) = (Natures::default(), Instant::now());
        let of = |nature, port, now| natures.answer(&told(nature), endpoint(port), true, LASTING, now);
        let first = of(1, 1, now);
        assert!(Arc::ptr_eq(&first, &of(1, 2, now)), "it waits for the answer to the other");
        let _said = said(&first);
        assert!(Arc::ptr_eq(&first, &of(1, 3, now + 100 * LASTING)));
        assert!(of(2, 1, now).get().is_none());
    }

    #[test]
    fn what_has_no_number_is_asked_for_again_after_a_while_of_whoever_comes_then() {
        let (natures, now) = (Natures::default(), Instant::now());
        let of = |port, now| natures.answer(&told(0), endpoint(port), false, LASTING, now);
        let first = of(1, now);
        let _said = said(&first);
        assert!(Arc::ptr_eq(&first, &of(2, now + LASTING / 2)));
        assert!(of(2, now + 2 * LASTING).get().is_none());
    }

    #[test]
    fn where_calls_are_put_together_each_without_a_number_is_asked_at_each_survey_unless_it_does_not_know_the_question()
    {
        let (natures, now) = (Natures::default(), Instant::now());
        let of = |port, now| natures.answer(&told(0), endpoint(port), true, LASTING, now);
        let _said = said(&of(1, now));
        assert!(of(1, now).get().is_none() && of(2, now).get().is_none());
        of(2, now).set(None).unwrap();
        assert!(of(2, now + LASTING / 2).get().is_some());
        assert!(of(2, now + 2 * LASTING).get().is_none());
    }

    #[test]
    fn however_much_was_said_only_what_somebody_has_is_remembered() {
        let (natures, now) = (Natures::default(), Instant::now());
        let of = |nature| natures.answer(&told(nature), endpoint(1), false, LASTING, now);
        let kept = said(&of(1));
        (2..10_000).for_each(|nature| drop(said(&of(nature))));
        assert!(natures.answers.lock().unwrap().len() < 100);
        assert!(Arc::ptr_eq(&kept, of(1).get().unwrap().as_ref().unwrap()));
    }
}
