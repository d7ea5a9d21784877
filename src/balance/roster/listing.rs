//! The roster as people want to see it.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::station::Station;
use super::table::Table;
use crate::balance::breaker::{Snapshot, State};
use crate::balance::endpoint::Connectivity;
use crate::balance::pick::Candidate;

/// One endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its zone, where it is known.
    pub zone: Option<String>,
    /// What discovery says: `ready`, `leaving` or `unready`.
    pub condition: String,
    /// `connected`, `dialling`, `silent` or `lost`.
    pub connection: &'static str,
    /// Why there is no connection.
    pub lost: Option<String>,
    /// Seconds since its connection came up, or was lost.
    pub since_s: f64,
    /// Calls on their way there.
    pub in_flight: usize,
    /// Whether it has said what it serves.
    pub surveyed: bool,
    /// Seconds since it was discovered.
    pub age_s: f64,
    /// What it is to each of its models.
    pub models: Vec<ListedModel>,
}

/// One model at an endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct ListedModel {
    /// The model.
    pub name: String,
    /// Its versions that are ready there.
    pub versions: Vec<String>,
    /// Why it is not ready, where no version is.
    pub not_ready: Option<String>,
    /// Calls of it on their way there.
    pub in_flight: u32,
    /// How long the answer of a call is predicted to take that is sent now, in seconds; absent before the first report.
    pub predicted_s: Option<f64>,
    /// The share of the calls of the last ten seconds that went well.
    pub success_rate: Option<f64>,
    /// `admitting`, `ejected` or `probing`.
    pub breaker: &'static str,
    /// Whether calls go there although it is ejected, since too many others are.
    pub spared: bool,
    /// Why the breaker came into that state, and how many seconds ago.
    pub why: String,
    /// Seconds since that.
    pub since_s: f64,
}

impl Listed {
    pub(super) fn of(station: &Station, table: &Table, now: Instant) -> Listed {
        let (backend, endpoint) = (station.backend(), station.endpoint());
        let (connection, lost) = match &*endpoint.connectivity().borrow() {
            Connectivity::Connected if endpoint.is_reachable() => ("connected", None),
            Connectivity::Connected => ("silent", None),
            Connectivity::Dialling | Connectivity::Renewing => ("dialling", None),
            Connectivity::Lost(why) => ("lost", Some(why.clone())),
        };
        let mut models: Vec<ListedModel> = table
            .members_at(backend.address)
            .map(|(name, member)| ListedModel::of(name.as_str(), member, station, now))
            .collect();
        models.sort_by(|one, other| one.name.cmp(&other.name));
        Listed {
            name: backend.name.to_string(),
            address: backend.address.to_string(),
            zone: backend.zone.as_ref().map(ToString::to_string),
            condition: backend.condition.to_string(),
            connection,
            lost,
            since_s: seconds(now.saturating_duration_since(endpoint.since())),
            in_flight: endpoint.in_flight(),
            surveyed: station.census.taken,
            age_s: seconds(now.saturating_duration_since(station.since)),
            models,
        }
    }
}

impl ListedModel {
    fn of(name: &str, member: &std::sync::Arc<super::Member>, station: &Station, now: Instant) -> ListedModel {
        let Snapshot { state, since, why, success_rate, spared, .. } = member.breaker.snapshot(now);
        let told = station.census.models.get(name).map_or(&[][..], Vec::as_slice);
        let ready = told.iter().filter(|told| told.ready);
        let version = |told: &super::Told| told.version.map_or("unnumbered".to_owned(), |version| version.to_string());
        let versions: Vec<String> = ready.map(version).collect();
        let not_ready = told.first().filter(|_| versions.is_empty()).map(|told| told.reason.clone());
        let load = member.load();
        ListedModel {
            name: name.to_owned(),
            versions,
            not_ready,
            in_flight: load.calls(),
            predicted_s: load.reports().then(|| seconds(load.predicted(1, now))),
            success_rate,
            breaker: match state {
                State::Admitting => "admitting",
                State::Ejected { .. } => "ejected",
                State::Probing => "probing",
            },
            spared: spared && state != State::Admitting,
            why,
            since_s: seconds(now.saturating_duration_since(since)),
        }
    }
}

/// Rounded to microseconds: more is noise.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}
