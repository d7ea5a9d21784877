//! What a gateway tells of its backends, as metrics: read when somebody asks, so that no call pays for it. Nothing here has
//! the labels of both a model and an endpoint, which would be as many series as there are pairs.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;

use crate::balance::{Change, Roster, State};
use crate::discover::Lives;

const NO_EXEMPLAR: Option<&'static Exemplar<[(String, String); 0], f64>> = None;

/// The backends of a gateway.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) roster: Roster,
    pub(super) lives: Lives,
}

impl Collector for Fleet {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let now = tokio::time::Instant::now().into_std();
        self.sources(&mut encoder, now)?;
        self.endpoints(&mut encoder, now)?;
        self.breakers(&mut encoder, now)?;
        self.changes(&mut encoder)?;
        self.attempts(&mut encoder)?;
        self.outlook(&mut encoder, now)
    }
}

impl Fleet {
    fn sources(&self, encoder: &mut DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let help = "How long ago a source of backends last gave a sign of life";
        let mut family = encoder.encode_descriptor("discovery_stale", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for life in self.lives.iter(now) {
            let Some(stale) = life.stale_for else { continue };
            family.encode_family(&[("source", life.source)])?.encode_gauge(&stale.as_secs_f64())?;
        }
        let help = "Entries of a source's last answer that could not be used";
        let mut family = encoder.encode_descriptor("discovery_skipped_entries", help, None, MetricType::Gauge)?;
        for life in self.lives.iter(now) {
            family.encode_family(&[("source", life.source)])?.encode_gauge(&life.skipped)?;
        }
        Ok(())
    }

    fn endpoints(&self, encoder: &mut DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let listed = self.roster.listing(now);
        let help = "Backends that are known, by whether they are connected";
        let mut family = encoder.encode_descriptor("balance_endpoints", help, None, MetricType::Gauge)?;
        for state in ["connected", "dialling", "silent", "lost"] {
            let count = listed.iter().filter(|endpoint| endpoint.connection == state).count() as u64;
            family.encode_family(&[("connection", state)])?.encode_gauge(&count)?;
        }
        Ok(())
    }

    fn breakers(&self, encoder: &mut DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let help = "Backends of a model, by what their breakers say";
        let mut family = encoder.encode_descriptor("balance_breakers", help, None, MetricType::Gauge)?;
        for (name, _, pool) in self.roster.models() {
            let members = pool.members();
            let states: Vec<State> = members.iter().map(|member| member.breaker.snapshot(now).state).collect();
            for (label, is) in [
                ("admitting", (|state| *state == State::Admitting) as fn(&State) -> bool),
                ("ejected", |state| matches!(state, State::Ejected { .. })),
                ("probing", |state| *state == State::Probing),
            ] {
                let count = states.iter().filter(|state| is(state)).count() as u64;
                family.encode_family(&[("model", name.as_str()), ("state", label)])?.encode_gauge(&count)?;
            }
        }
        Ok(())
    }

    fn changes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Changes of the breakers of a model's backends, by why";
        let mut family = encoder.encode_descriptor("balance_breaker_changes", help, None, MetricType::Counter)?;
        for (name, tactics, _) in self.roster.models() {
            for why in Change::ALL {
                let labels = [("model", name.as_str()), ("why", why.name())];
                family.encode_family(&labels)?.encode_counter(&tactics.changes.of(why), NO_EXEMPLAR)?;
            }
        }
        Ok(())
    }

    fn outlook(&self, encoder: &mut DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let help = "Attempts beyond the first that a model's calls may make now";
        let mut family = encoder.encode_descriptor("balance_budget_attempts", help, None, MetricType::Gauge)?;
        for (name, tactics, _) in self.roster.models() {
            family.encode_family(&[("model", name.as_str())])?.encode_gauge(&tactics.budget.left(now))?;
        }
        let (name, help) = ("balance_predicted_wait", "How long a call that comes now is predicted to wait");
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (name, _, pool) in self.roster.models() {
            let wait = pool.predicted_wait().as_secs_f64();
            family.encode_family(&[("model", name.as_str())])?.encode_gauge(&wait)?;
        }
        Ok(())
    }

    fn attempts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Attempts beyond the first of a call, because it failed or because it was slow";
        let mut family = encoder.encode_descriptor("balance_extra_attempts", help, None, MetricType::Counter)?;
        for (name, tactics, _) in self.roster.models() {
            let extra = &tactics.extra;
            for (why, count) in [("retry", &extra.retries), ("hedge", &extra.hedges)] {
                let labels = [("model", name.as_str()), ("why", why)];
                family.encode_family(&labels)?.encode_counter(&count.load(Relaxed), NO_EXEMPLAR)?;
            }
        }
        Ok(())
    }
}
