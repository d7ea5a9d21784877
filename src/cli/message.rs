//! The messages of an inference as commands make and read them: from what was written on the command line to the
//! model's tensors, and from a server's answer back to tensors.

pub mod answer;
mod array;
mod contents;
mod fit;
pub mod given;
pub mod number;
mod numpy;
pub mod request;
mod widen;
