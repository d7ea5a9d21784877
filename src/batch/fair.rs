//! Whose turn it is: shares of time among those that have something waiting.

/// Time that each of several has had of what they share, in proportion to its weight (start-time fair queueing). One
/// that comes back after a pause begins where the others are: nobody saves up a share.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    now: f64,
}

impl Turns {
    /// Where one begins that had nothing waiting and was at `served`.
    pub(super) fn begin(&self, served: f64) -> f64 {
        served.max(self.now)
    }

    /// Gives one that is at `served` a turn that takes `cost`, and tells where it is then.
    pub(super) fn serve(&mut self, served: f64, cost: f64, weight: f64) -> f64 {
        self.now = self.now.max(served);
        served + cost / weight
    }
}

/// The weight of a level of priority among so many, 0 being the most urgent: the square of how many levels there are
/// from it on. Of three levels that are all busy the shares are 9, 4 and 1 of 14, so that the lowest still moves.
pub(super) fn weight(level: usize, levels: usize) -> f64 {
    let rank = levels.saturating_sub(level).max(1) as f64;
    rank * rank
}

/// Of those that have had no more than the mean of all, the one that is due first: each gets its share in the end, and
/// within it the urgent go first (earliest eligible virtual deadline first).
pub(super) fn next<T, O: Ord>(waiting: impl Iterator<Item = (T, f64, O)> + Clone) -> Option<T> {
    let (count, sum) = waiting.clone().fold((0.0, 0.0), |(count, sum), (_, served, _)| (count + 1.0, sum + served));
    let mean = sum / count;
    // Rounding must not leave nobody.
    let eligible = waiting.filter(|(_, served, _)| count == 1.0 || *served <= mean * (1.0 + 1e-9) + 1e-9);
    eligible.min_by(|(_, _, one), (_, _, other)| one.cmp(other)).map(|(who, _, _)| who)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves so many turns of these costs, and tells how much time each got.
    fn shared(costs: &[f64], dues: &[u32], rounds: usize) -> Vec<f64> {
        let (mut turns, mut served, mut got) = (Turns::default(), vec![0.0; costs.len()], vec![0.0; costs.len()]);
        for _ in 0..rounds {
            let who = next((0..costs.len()).map(|who| (who, served[who], dues[who]))).unwrap();
            served[who] = turns.serve(served[who], costs[who], 1.0);
            got[who] += costs[who];
        }
        got
    }

    #[test]
    fn time_is_shared_evenly_whatever_a_turn_costs_and_whoever_is_due_first() {
        let got = shared(&[1.0, 5.0, 20.0], &[3, 2, 1], 3000);
        let (least, most) = got.iter().fold((f64::MAX, 0f64), |(least, most), got| (least.min(*got), most.max(*got)));
        assert!(most - least <= 40.0, "{got:?}");
    }

    #[test]
    fn within_their_shares_the_one_that_is_due_first_goes_first() {
        assert_eq!(next([("a", 1.0, 9), ("b", 1.0, 3)].into_iter()), Some("b"));
        assert_eq!(next([("a", 0.0, 9), ("b", 1.0, 3)].into_iter()), Some("a"));
    }

    #[test]
    fn a_pause_saves_nothing_up() {
        let mut turns = Turns::default();
        let busy = (0..100).fold(0.0, |served, _| turns.serve(served, 1.0, 1.0));
        assert_eq!(turns.begin(0.0), busy - 1.0);
    }

    #[test]
    fn the_lowest_level_still_moves() {
        let shares: Vec<f64> = (0..3).map(|level| weight(level, 3)).collect();
        assert_eq!(shares, [9.0, 4.0, 1.0]);
    }
}
