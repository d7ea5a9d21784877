//! A server in the test's own process: real sockets, scripted engines, a repository of its own. Whatever a test starts
//! ends with it.
//!
//! A test says what there is ([`Model`]), starts it ([`Serving`]), talks to it as a client would (the generated clients
//! over [`Serving::channel`], [`Raw`] for HTTP/2 by hand, [`Wire`] for single frames), and ends with
//! [`Serving::finish`]. Nothing sleeps: a test waits for what happens ([`Gate`], [`eventually`]), within a bound
//! ([`within`]).

mod authority;
mod backend;
mod breakdown;
mod collector;
mod frames;
mod fronting;
mod gate;
mod lines;
mod message;
mod model;
mod page;
mod pushed;
mod raw;
mod script;
mod serving;
mod spans;
mod wait;

pub use authority::{Authority, Signed};
pub use backend::{Deed, Part, Taken};
pub use breakdown::Breakdown;
pub use collector::{Collector, Reply};
pub use frames::{END_STREAM, Frame, Wire, kind};
pub use fronting::{Fronting, Standing};
pub use gate::Gate;
pub use lines::Lines;
pub use message::{echo, echo_of, echoed, floats, framed, raw, strings, tensor, unframed};
pub use model::{FREE, Model};
pub use page::{get, refused_for};
pub use pushed::{Pushed, Samples, told};
pub use raw::{Answer, INFER, PREDICT, Pending, Raw, STREAM_INFER};
pub use script::{Log, Run};
pub use serving::{Oip, Serving};
pub use spans::{Span, Spans};
pub use wait::{eventually, within};
