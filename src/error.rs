//! Why a call failed: whose doing it was, and whether trying again is safe. The one error type that crosses a seam.
//! It never knows a wire code; `wire::status` has the only map from `Kind` to those.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The result of anything that can fail a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is. Everything that differs between failures (code, blame, retry) is derived from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request contradicts itself, the protocol or the model's signature.
    Invalid,
    /// No such model or version is known.
    UnknownModel,
    /// The model or version is known but cannot answer yet, or no longer.
    NotReady,
    /// The model cannot be loaded as it is.
    Unloadable,
    /// A message, or what it inflates to, is over the limit.
    TooLarge,
    /// A limit or a queue is full.
    Overloaded,
    /// The deadline has passed, or would.
    Late,
    /// Nobody waits for the answer any more.
    Cancelled,
    /// No backend could take the call.
    NoBackend,
    /// A backend went away with the call.
    BackendLost,
    /// The server is stopping and takes no new work.
    Draining,
    /// The caller did not say who it is.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// A feature that is not served.
    Unsupported,
    /// The engine failed, or we did.
    Engine,
}

/// Whose doing a failure was. Only [`Blame::Server`] should wake somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller sent what cannot be answered, or left.
    Caller,
    /// There is more work than capacity.
    Load,
    /// This process, its configuration, or a backend.
    Server,
}

/// Whether the same call may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// It never ran: trying elsewhere is always safe.
    Safe,
    /// It may have run: safe only where the model is pure.
    IfPure,
}

impl Kind {
    /// Whose doing it was.
    pub fn blame(self) -> Blame {
        use Kind::*;
        match self {
            Invalid | UnknownModel | TooLarge | Cancelled | Unauthenticated | Forbidden | Unsupported => Blame::Caller,
            Overloaded | Late | Draining => Blame::Load,
            NotReady | Unloadable | NoBackend | BackendLost | Engine => Blame::Server,
        }
    }

    /// Whether trying again is safe.
    pub fn retry(self) -> Retry {
        use Kind::*;
        match self {
            NotReady | Overloaded | NoBackend | Draining => Retry::Safe,
            BackendLost => Retry::IfPure,
            Invalid | UnknownModel | Unloadable | TooLarge | Late | Cancelled | Unauthenticated | Forbidden
            | Unsupported | Engine => Retry::Never,
        }
    }
}

/// A failed call: its [`Kind`] and one sentence for the caller. The sentence names the object and, for a mismatch,
/// both values; it carries nothing of the machine (paths, addresses, other callers).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    last_word: bool,
}

impl Error {
    /// A failure of `kind`, explained by `message` (lower case, no full stop).
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), retry_after: None, last_word: false }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The feature is not served.
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unsupported, message)
    }

    /// Refused for want of room; `retry_after` is the predicted wait.
    pub fn overloaded(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(Kind::Overloaded, message) }
    }

    /// The deadline has passed while `doing` (a present participle: "waiting for an instance").
    pub fn late(doing: &'static str) -> Self {
        Self::new(Kind::Late, format!("deadline exceeded while {doing}"))
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When trying again may help, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether whoever answered said not to try again, whatever the kind is (a negative `grpc-retry-pushback-ms`).
    pub fn is_last_word(&self) -> bool {
        self.last_word
    }

    /// The same failure, with when trying again may help.
    pub fn after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// The same failure as the last word on the call: it was tried again here, or whoever answered said not to. Nobody
    /// further out tries again.
    pub fn last_word(mut self) -> Self {
        self.last_word = true;
        self
    }

    /// The same failure with `prefix: ` before its sentence, for context known only further out.
    pub fn within(mut self, prefix: impl fmt::Display) -> Self {
        self.message = format!("{prefix}: {}", self.message).into();
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ran_may_be_tried_again_and_what_the_caller_got_wrong_may_not() {
        assert_eq!(Kind::Overloaded.retry(), Retry::Safe);
        assert_eq!(Kind::BackendLost.retry(), Retry::IfPure);
        assert_eq!(Kind::Invalid.retry(), Retry::Never);
    }

    #[test]
    fn the_last_word_on_a_call_stays_so_whatever_is_said_around_it() {
        let error = Error::new(Kind::BackendLost, "reset").after(Duration::from_secs(1)).last_word().within("model m");
        assert_eq!((error.is_last_word(), error.retry_after()), (true, Some(Duration::from_secs(1))));
        assert!(!Error::invalid("reset").is_last_word());
    }

    #[test]
    fn context_is_put_before_the_sentence() {
        let error = Error::invalid("expected 4 bytes, got 3").within("input \"x\"");
        assert_eq!(error.to_string(), "input \"x\": expected 4 bytes, got 3");
        assert_eq!(error.kind(), Kind::Invalid);
    }
}
