//! What a role is told of the process that it is the work of: the settings with who set them, and the log that was started.

use crate::accept::Shown;
use crate::config::{Config, Effective};
use crate::observe::log::Log;

/// A process that is about to serve.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its settings.
    pub settings: Effective,
    /// Its log, where it can be changed.
    pub log: Option<Log>,
}

impl From<&Config> for Process {
    /// A process whose log is somebody else's, as in a test.
    fn from(config: &Config) -> Process {
        Process { settings: Effective::from(config.clone()), log: None }
    }
}

impl Process {
    /// What its admin port shows, whatever its role.
    pub(super) fn shown(&self) -> Shown {
        Shown { log: self.log.clone(), ..Shown::default() }
    }
}
