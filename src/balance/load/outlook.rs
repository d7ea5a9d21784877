//! When an endpoint's next run can begin and what waits for it: a model of a work-conserving batcher in one word, moved
//! on by time and by what is sent, and set right by each report.

/// Most runs that are played through one by one; what is further ahead is taken to go in full runs.
const STEPS: usize = 4;

/// Rows are kept in eighths, as what others are taken to send is no whole number; 8191 rows are as good as any more.
const PARTS: f64 = 8.0;

/// What a run takes by its rows, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// What every run takes.
    pub run: f64,
    /// What each of its rows takes beside.
    pub row: f64,
    /// Rows of the largest run; infinite where that is not known.
    pub largest: f64,
    /// Runs at one time.
    pub instances: f64,
}

impl Line {
    /// What a run of so many rows takes; beyond the largest, the runs one after the other.
    #[inline]
    pub fn time(&self, rows: f64) -> f64 {
        // One run is by far the most frequent, and rounding is a call of a function on most machines.
        let runs = if rows <= self.largest { 1.0 } else { (rows / self.largest).ceil() };
        self.run * runs + self.row * rows
    }

    /// What the largest run takes; what any takes where that is not known.
    pub fn full(&self) -> f64 {
        if self.largest.is_finite() { self.time(self.largest) } else { self.run }
    }
}

/// The state of the batcher: until when all its instances are taken, and what waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outlook {
    /// When the next run can begin, in nanoseconds from the endpoint's zero.
    free: u64,
    /// Rows that wait for it.
    queued: f64,
}

impl Outlook {
    /// Of an endpoint that had that many rows waiting when a run had just ended.
    pub(super) fn reported(waiting: u32, made: u64, line: &Line) -> Outlook {
        Outlook { free: made, queued: f64::from(waiting) }.at(made, line)
    }

    /// As it will be then, if nothing more comes: every run takes all that waits, up to the largest.
    #[inline]
    fn at(self, then: u64, line: &Line) -> Outlook {
        if self.free > then || self.queued <= 0.0 { self } else { self.moved_on(then, line) }
    }

    fn moved_on(mut self, then: u64, line: &Line) -> Outlook {
        for _ in 0..STEPS {
            if self.free > then || self.queued <= 0.0 {
                return self;
            }
            let taken = self.queued.min(line.largest);
            self.queued -= taken;
            self.free = self.free.saturating_add((line.time(taken) / line.instances) as u64);
        }
        if self.free <= then && self.queued > 0.0 {
            let full = line.full() / line.instances;
            let runs = ((then - self.free) as f64 / full.max(1.0)).min((self.queued / line.largest).ceil());
            self.queued = (self.queued - runs * line.largest).max(0.0);
            self.free = self.free.saturating_add((runs * full) as u64);
        }
        self
    }

    /// With so many rows more, that arrive then.
    pub(super) fn joined(self, rows: f64, then: u64, line: &Line) -> Outlook {
        let mut outlook = self.at(then, line);
        outlook.free = outlook.free.max(then);
        outlook.queued += rows;
        outlook.at(then, line)
    }

    /// As if `to` rows had joined last and not `from`.
    pub(super) fn resized(mut self, from: f64, to: f64, line: &Line) -> Outlook {
        if self.queued >= from {
            self.queued += to - from;
            return self;
        }
        let time = |rows: f64| if rows > 0.0 { line.time(rows) / line.instances } else { 0.0 };
        self.free = (self.free as f64 + time(to) - time(from)).max(0.0) as u64;
        self
    }

    /// Set right by rows that were sent and not answered: what cannot be running waits.
    #[inline]
    pub(super) fn at_least(mut self, rows: u32, line: &Line) -> Outlook {
        let waiting = f64::from(rows) - line.largest * line.instances;
        if waiting > self.queued {
            self.queued = waiting;
        }
        self
    }

    /// Rows that the next run can take of what arrives then, beside what waits for it.
    pub(super) fn room(self, then: u64, line: &Line) -> usize {
        (line.largest - self.at(then, line).queued).max(0.0) as usize
    }

    /// How long after `then` a run can begin with what arrives then, in nanoseconds.
    pub(super) fn wait(self, then: u64, line: &Line) -> f64 {
        let outlook = self.at(then, line);
        outlook.free.saturating_sub(then) as f64 + outlook.full_runs(line) * line.full() / line.instances
    }

    /// How long after `then` so many rows are through that arrive then, in nanoseconds.
    #[inline]
    pub(super) fn completion(self, rows: u32, then: u64, line: &Line) -> f64 {
        let outlook = self.at(then, line);
        // No branch on whether any run is full: nobody foresees that. Whether the largest is known is alike for all.
        let (wait, beside) = match line.largest.is_finite() {
            true => {
                let before = outlook.full_runs(line);
                (before * line.full() / line.instances, outlook.queued - before * line.largest)
            }
            false => (0.0, outlook.queued),
        };
        outlook.free.saturating_sub(then) as i64 as f64 + wait + line.time(beside + f64::from(rows))
    }

    /// Runs that what waits will fill before anything else can begin.
    #[inline]
    fn full_runs(&self, line: &Line) -> f64 {
        f64::from((self.queued / line.largest) as u32)
    }

    /// In one word, so that nobody reads half of it: 48 bits of time in units of 1.024 µs, which last nine years, and 16
    /// bits of parts of rows.
    pub(super) fn pack(self) -> u64 {
        let free = (self.free >> 10).min((1 << 48) - 1);
        free << 16 | ((self.queued * PARTS).round() as u64).min(u64::from(u16::MAX))
    }

    #[inline]
    pub(super) fn unpack(packed: u64) -> Outlook {
        Outlook { free: packed >> 16 << 10, queued: f64::from(packed as u16) / PARTS }
    }
}
