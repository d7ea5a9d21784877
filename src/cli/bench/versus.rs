//! Two servers side by side: rounds in which both are measured one after the other, and what their ratios are. A
//! machine's speed drifts; within a round it is nearly the same for both.

use super::side::Measured;

/// What is compared of one server in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Answers in a second.
    pub rate: f64,
    /// Microseconds within which half of the answers came.
    pub p50_us: Option<f64>,
    /// The same for 99 of 100.
    pub p99_us: Option<f64>,
    /// Microseconds of the server's CPU for each call.
    pub cpu_us: Option<f64>,
}

impl Figures {
    /// Those of one measurement.
    pub fn of(measured: &Measured) -> Figures {
        let latency = &measured.tally.latency;
        let at = |quantile| (!latency.is_empty()).then(|| latency.value_at_quantile(quantile) as f64 / 1e3);
        let cpu_us = measured.us_per_call(measured.server_cpu);
        Figures { rate: measured.rate(), p50_us: at(0.5), p99_us: at(0.99), cpu_us }
    }
}

/// One round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// The target.
    pub target: Figures,
    /// What it is compared with.
    pub vs: Figures,
    /// Whether the target was measured first.
    pub target_first: bool,
}

/// How numbers of several rounds spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// A quarter is not above.
    pub q1: f64,
    /// Half is not above.
    pub median: f64,
    /// Three quarters are not above.
    pub q3: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these numbers; nothing of none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = numbers.into_iter().filter(|number| number.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        // Between the two numbers around that place.
        let at = |share: f64| {
            let place = share * last as f64;
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            low + (high - low) * place.fract()
        };
        Some(Spread { min: at(0.0), q1: at(0.25), median: at(0.5), q3: at(0.75), max: at(1.0) })
    }
}

/// One figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// Its key.
    pub name: &'static str,
    /// The target's median.
    pub target: Option<f64>,
    /// The other's.
    pub vs: Option<f64>,
    /// The target's over the other's, round by round.
    pub ratio: Option<Spread>,
}

/// One of the figures.
type Figure = fn(&Figures) -> Option<f64>;

/// Every figure over these rounds.
pub fn compare(rounds: &[Round]) -> [Compared; 4] {
    let figures: [(&'static str, Figure); 4] = [
        ("rate_per_s", |figures| Some(figures.rate)),
        ("p50_us", |figures| figures.p50_us),
        ("p99_us", |figures| figures.p99_us),
        ("server_cpu_us_per_call", |figures| figures.cpu_us),
    ];
    figures.map(|(name, figure)| {
        let median = |side: fn(&Round) -> &Figures| {
            Spread::of(rounds.iter().filter_map(|round| figure(side(round)))).map(|spread| spread.median)
        };
        let ratio = rounds.iter().filter_map(|round| Some(figure(&round.target)? / figure(&round.vs)?));
        Compared {
            name,
            target: median(|round| &round.target),
            vs: median(|round| &round.vs),
            ratio: Spread::of(ratio),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rate: f64) -> Figures {
        Figures { rate, p50_us: Some(1e6 / rate), p99_us: None, cpu_us: Some(0.0) }
    }

    fn round(target: f64, vs: f64) -> Round {
        Round { target: figures(target), vs: figures(vs), target_first: true }
    }

    #[test]
    fn ratios_are_of_each_round_and_not_of_the_medians() {
        // The machine slowed down to a tenth, and the target stayed twice as fast.
        let rounds = [round(200.0, 100.0), round(20.0, 10.0), round(220.0, 100.0)];
        let [rate, p50, ..] = compare(&rounds);
        let ratio = rate.ratio.unwrap();
        assert_eq!((rate.target, rate.vs, ratio.median), (Some(200.0), Some(100.0), 2.0));
        assert!((ratio.max - 2.2).abs() < 1e-9 && (ratio.q3 - 2.1).abs() < 1e-9, "{ratio:?}");
        assert!((p50.ratio.unwrap().median - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_known_or_nothing_has_no_ratio() {
        let [_, _, p99, cpu] = compare(&[round(1.0, 1.0)]);
        assert_eq!((p99.target, p99.ratio), (None, None));
        assert_eq!((cpu.target, cpu.ratio), (Some(0.0), None));
        assert_eq!(compare(&[]).map(|compared| compared.ratio), [None; 4]);
    }

    #[test]
    fn a_spread_lies_between_its_numbers() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!([spread.min, spread.q1, spread.median, spread.q3, spread.max], [1.0, 1.75, 2.5, 3.25, 4.0]);
        assert_eq!(Spread::of([7.0]).unwrap(), Spread { min: 7.0, q1: 7.0, median: 7.0, q3: 7.0, max: 7.0 });
    }
}
