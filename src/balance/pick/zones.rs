//! Endpoints of the own zone first: the way there is shorter, and traffic between zones is paid for. They are left where
//! those of other zones are better by more than that.

use std::time::Duration;

/// How much better an endpoint of another zone has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zones {
    /// By so much earlier its answer must be predicted.
    pub margin: Duration,
    /// And by that part of the near one's time.
    pub ratio: f64,
}

impl Default for Zones {
    /// 5 ms and a quarter: several times the way between two zones of a region and back, and more than predictions are
    /// usually off, so that calls spill where near endpoints queue and not where they are merely busy.
    fn default() -> Self {
        Zones { margin: Duration::from_millis(5), ratio: 0.25 }
    }
}

impl Zones {
    /// The near one, unless the far one costs less by the margin; costs are nanoseconds.
    pub(super) fn nearer<'a, M>(
        &self,
        near: &'a [M],
        far: &'a [M],
        mut best: impl FnMut(&'a [M]) -> Option<(&'a M, f64)>,
    ) -> Option<&'a M> {
        self.choose(near, far, &mut best, |zones| zones.margin.as_nanos() as f64)
    }

    /// The same for costs that are calls in flight: the near one unless the far one has that part fewer and one more.
    pub(super) fn balanced<'a, M>(
        &self,
        near: &'a [M],
        far: &'a [M],
        mut best: impl FnMut(&'a [M]) -> Option<(&'a M, f64)>,
    ) -> Option<&'a M> {
        self.choose(near, far, &mut best, |_| 1.0)
    }

    fn choose<'a, M>(
        &self,
        near: &'a [M],
        far: &'a [M],
        best: &mut impl FnMut(&'a [M]) -> Option<(&'a M, f64)>,
        margin: fn(&Zones) -> f64,
    ) -> Option<&'a M> {
        let own = best(near);
        if far.is_empty() {
            return own.map(|(near, _)| near);
        }
        let margin = margin(self);
        let worth = |cost: f64| cost * (1.0 - self.ratio) - margin;
        let other = match own {
            // Nothing costs less than nothing.
            Some((_, cost)) if worth(cost) <= 0.0 => None,
            _ => best(far),
        };
        match (own, other) {
            (Some((_, near_cost)), Some((far, far_cost))) if far_cost < worth(near_cost) => Some(far),
            (Some((near, _)), _) => Some(near),
            (None, other) => other.map(|(far, _)| far),
        }
    }
}
