//! Where a call's time went, as its trailers say it.

use http::HeaderMap;

/// The entries of `server-timing`.
#[derive(Debug)]
pub struct Breakdown {
    /// Stages and their sum, in microseconds.
    entries: Vec<(String, u64)>,
    /// What is said beside them.
    said: Vec<(String, String)>,
}

impl Breakdown {
    pub fn of(trailers: &HeaderMap) -> Breakdown {
        Breakdown::parse(trailers["server-timing"].to_str().unwrap())
    }

    pub fn parse(text: &str) -> Breakdown {
        let parsed = |entry: &str| {
            let (name, millis) = entry.split_once(";dur=").unwrap();
            let (whole, thousandths) = millis.split_once('.').unwrap();
            assert_eq!(thousandths.len(), 3, "{text}");
            (name.to_owned(), whole.parse::<u64>().unwrap() * 1000 + thousandths.parse::<u64>().unwrap())
        };
        let (timed, said): (Vec<&str>, Vec<&str>) = text.split(", ").partition(|entry| entry.contains(";dur="));
        let quoted = |entry: &&str| {
            let (name, said) = entry.split_once(";desc=").unwrap();
            (name.to_owned(), said.trim_matches('"').to_owned())
        };
        let breakdown =
            Breakdown { entries: timed.into_iter().map(parsed).collect(), said: said.iter().map(quoted).collect() };
        assert_eq!(breakdown.entries.last().unwrap().0, "total", "{text}");
        breakdown
    }

    /// Asserts that the parts are the whole.
    pub fn is_whole(&self) {
        let (total, parts) = self.entries.split_last().unwrap();
        assert_eq!(parts.iter().map(|(_, micros)| micros).sum::<u64>(), total.1, "{self:?}");
    }

    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(own, _)| own == name)
    }

    pub fn micros(&self, name: &str) -> u64 {
        self.entries.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }

    /// What is said by that name.
    pub fn said(&self, name: &str) -> &str {
        &self.said.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }

    /// What no stage accounts for.
    pub fn other(&self) -> u64 {
        self.micros("other")
    }
}
