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

/// What there was no room in, of a failure that is [`Kind::Overloaded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Calls in flight in the whole process.
    InFlight,
    /// Those of the model.
    ModelInFlight,
    /// Calls that wait for a model, or those of one level.
    QueueCalls,
    /// The bytes of those.
    QueueBytes,
    /// The call's own time: what waits takes longer than that.
    QueueTime,
    /// The bytes of all messages in memory.
    MessageBytes,
    /// A backend.
    Elsewhere,
}

impl Room {
    /// Every room.
    pub const ALL: [Room; 7] = [
        Room::InFlight,
        Room::ModelInFlight,
        Room::QueueCalls,
        Room::QueueBytes,
        Room::QueueTime,
        Room::MessageBytes,
        Room::Elsewhere,
    ];

    /// Its name, such as `queue_calls`.
    pub fn name(self) -> &'static str {
        match self {
            Room::InFlight => "in_flight",
            Room::ModelInFlight => "model_in_flight",
            Room::QueueCalls => "queue_calls",
            Room::QueueBytes => "queue_bytes",
            Room::QueueTime => "queue_time",
            Room::MessageBytes => "message_bytes",
            Room::Elsewhere => "backend",
        }
    }
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
    /// Every kind.
    pub const ALL: [Kind; 15] = [
        Kind::Invalid,
        Kind::UnknownModel,
        Kind::NotReady,
        Kind::Unloadable,
        Kind::TooLarge,
        Kind::Overloaded,
        Kind::Late,
        Kind::Cancelled,
        Kind::NoBackend,
        Kind::BackendLost,
        Kind::Draining,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::Unsupported,
        Kind::Engine,
    ];

    /// Its name, such as `unknown_model`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::UnknownModel => "unknown_model",
            Kind::NotReady => "not_ready",
            Kind::Unloadable => "unloadable",
            Kind::TooLarge => "too_large",
            Kind::Overloaded => "overloaded",
            Kind::Late => "late",
            Kind::Cancelled => "cancelled",
            Kind::NoBackend => "no_backend",
            Kind::BackendLost => "backend_lost",
            Kind::Draining => "draining",
            Kind::Unauthenticated => "unauthenticated",
            Kind::Forbidden => "forbidden",
            Kind::Unsupported => "unsupported",
            Kind::Engine => "engine",
        }
    }

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
    again: Again,
    room: Room,
}

/// What whoever failed a call said about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Unsaid,
    After(Duration),
    Never,
}

impl Error {
    /// A failure of `kind`, explained by `message` (lower case, no full stop).
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), again: Again::Unsaid, room: Room::Elsewhere }
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
    pub fn overloaded(room: Room, message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self { room, ..Self::new(Kind::Overloaded, message).after(retry_after) }
    }

    /// The deadline has passed while `doing` (a present participle: "waiting for an instance").
    pub fn late(doing: &'static str) -> Self {
        Self::new(Kind::Late, format!("deadline exceeded while {doing}"))
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What there was no room in, where it is for that.
    pub fn room(&self) -> Option<Room> {
        (self.kind == Kind::Overloaded).then_some(self.room)
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When trying again may help, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.again {
            Again::After(wait) => Some(wait),
            Again::Unsaid | Again::Never => None,
        }
    }

    /// The same failure, of which is known that trying again may help after `wait`.
    pub fn after(self, wait: Duration) -> Self {
        Self { again: Again::After(wait), ..self }
    }

    /// The same failure of somebody who asks that the call is not tried again, whatever its kind says.
    pub fn never_again(self) -> Self {
        Self { again: Again::Never, ..self }
    }

    /// Whether somebody asked that the call is not tried again.
    pub fn forbids_retry(&self) -> bool {
        self.again == Again::Never
    }

    /// Whether the same call may be tried again: as its kind says, unless somebody asked for the opposite.
    pub fn retry(&self) -> Retry {
        if self.forbids_retry() { Retry::Never } else { self.kind.retry() }
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
    fn nothing_is_tried_again_against_a_request_not_to() {
        let error = Error::overloaded(Room::QueueCalls, "full", Duration::from_millis(5));
        assert_eq!((error.retry(), error.retry_after()), (Retry::Safe, Some(Duration::from_millis(5))));
        let error = error.never_again();
        assert_eq!((error.retry(), error.retry_after(), error.forbids_retry()), (Retry::Never, None, true));
    }

    #[test]
    fn every_kind_and_every_room_has_a_name_of_its_own_and_stands_where_its_number_says() {
        let names = Kind::ALL.iter().map(|kind| kind.name()).chain(Room::ALL.iter().map(|room| room.name()));
        assert_eq!(names.collect::<std::collections::HashSet<_>>().len(), Kind::ALL.len() + Room::ALL.len());
        assert!(Kind::ALL.iter().enumerate().all(|(at, kind)| *kind as usize == at));
        assert!(Room::ALL.iter().enumerate().all(|(at, room)| *room as usize == at));
    }

    #[test]
    fn context_is_put_before_the_sentence() {
        let error = Error::invalid("expected 4 bytes, got 3").within("input \"x\"");
        assert_eq!(error.to_string(), "input \"x\": expected 4 bytes, got 3");
        assert_eq!(error.kind(), Kind::Invalid);
    }
}
