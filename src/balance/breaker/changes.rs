//! How often breakers have changed, and why: counted by model, so that members may come and go.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a breaker has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Calls failed one after the other.
    InARow,
    /// Too many of the last calls failed.
    Rate,
    /// Nothing was heard although calls wait.
    Silence,
    /// The endpoint said that it is stopping.
    Stopping,
    /// The probe failed.
    Probe,
    /// The probe was answered, and the endpoint admits again.
    Recovered,
}

impl Change {
    /// Every reason.
    pub const ALL: [Change; 6] =
        [Change::InARow, Change::Rate, Change::Silence, Change::Stopping, Change::Probe, Change::Recovered];

    /// Its name, a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Change::InARow => "in_a_row",
            Change::Rate => "rate",
            Change::Silence => "silence",
            Change::Stopping => "stopping",
            Change::Probe => "probe",
            Change::Recovered => "recovered",
        }
    }
}

/// Counts of changes.
#[derive(Debug, Default)]
pub struct Changes([AtomicU64; Change::ALL.len()]);

impl Changes {
    pub(super) fn count(&self, why: Change) {
        self.0[why as usize].fetch_add(1, Relaxed);
    }

    /// How often breakers have changed for this reason.
    pub fn of(&self, why: Change) -> u64 {
        self.0[why as usize].load(Relaxed)
    }
}
