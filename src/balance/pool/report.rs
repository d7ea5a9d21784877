//! What a gateway says with its answers of how busy it is: whoever is in front of several balances over gateways, and not
//! over the endpoint that one of them chose.

use std::time::Instant;

use super::Members;
use crate::balance::pick::Candidate;
use crate::infer::LoadReport;

/// How busy the members are together with calls from here: each runs as many as it has instances, and the others wait. A
/// call that comes now waits for the one that is free first.
pub(super) fn of(members: &Members, now: Instant) -> LoadReport {
    let mut all = LoadReport::default();
    let mut wait = None;
    for member in members.iter().filter(|member| member.admits(now)) {
        let load = member.load();
        add(&mut all, load.calls(), load.rows(), load.line().instances as u32);
        wait = wait.into_iter().chain(load.free_in(now)).min();
    }
    LoadReport { wait: wait.unwrap_or_default(), ..all }
}

/// Adds a member. Of its calls nobody knows which run: those that wait are taken to have their share of the rows.
fn add(all: &mut LoadReport, calls: u32, rows: u32, instances: u32) {
    let running = calls.min(instances);
    let waiting = u64::from(rows) * u64::from(calls - running) / u64::from(calls.max(1));
    // How many instances there are was told by a peer.
    all.running = all.running.saturating_add(running);
    all.waiting = all.waiting.saturating_add(u32::try_from(waiting).unwrap_or(u32::MAX));
    all.free_slots = all.free_slots.saturating_add(instances - running);
}

/// Makes of what an endpoint said of itself what is said of `all`. What runs take is as the endpoint said.
pub(super) fn speak_for_all(said: &mut LoadReport, all: &LoadReport) {
    let LoadReport { execution, run, row, .. } = *said;
    *said = LoadReport { execution, run, row, ..*all };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_are_busy_and_idle_add_up_whatever_they_say_of_themselves() {
        let mut all = LoadReport::default();
        for (calls, rows, instances) in [(0, 0, 2), (1, 8, 2), (3, 24, 1), (1, 1, u32::MAX)] {
            add(&mut all, calls, rows, instances);
        }
        assert_eq!((all.running, all.waiting, all.free_slots), (3, 16, u32::MAX));
    }
}
