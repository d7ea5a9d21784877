//! What is to be said of a configuration: why it cannot be honoured, and what of it is left out of account.

use super::{TRITON_SETTINGS, problem};
use crate::config::Problem;

/// Remarks of each kind: a file of many mistakes must not become a log of as many lines.
const MOST: usize = 50;
/// Characters of one part of a remark; names in a file may be as long as the file.
const LONGEST: usize = 300;

/// Everything found so far. A reader goes on after a mistake, so that all are told at once.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    pub(super) problems: Vec<Problem>,
    pub(super) advice: Vec<String>,
}

impl Remarks {
    /// A field that would change answers and cannot be honoured.
    pub(super) fn refuse(&mut self, field: &str, why: impl Into<String>) {
        if self.problems.len() < MOST {
            self.problems.push(problem(&cut(field), cut(&why.into())));
        }
    }

    /// A field whose absence changes no answer.
    pub(super) fn ignore(&mut self, field: &str, why: &str) {
        if self.advice.len() < MOST {
            self.advice.push(format!("{TRITON_SETTINGS}: {} is ignored: {why}", cut(field)));
        }
    }

    pub(super) fn ignore_if(&mut self, there: bool, field: &str, why: &str) {
        if there {
            self.ignore(field, why);
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
