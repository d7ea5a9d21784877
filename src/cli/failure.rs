//! How a command ends when it cannot do what it was asked to.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Why a command failed: one sentence, lower case, that says what to do about it where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It was asked for something that cannot be: flags, values or files that are wrong. Exit code 2.
    WrongUse(String),
    /// It was asked well and could not. Exit code 1.
    Failed(String),
}

impl Failure {
    /// A wrong use.
    pub fn wrong_use(message: impl fmt::Display) -> Failure {
        Failure::WrongUse(message.to_string())
    }

    /// A failure.
    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure::Failed(message.to_string())
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::WrongUse(_) => 2,
        }
    }

    /// Says `error: …` on standard error and gives the exit code.
    pub fn report(&self) -> ExitCode {
        // Where nobody reads standard error, the code still tells.
        _ = writeln!(std::io::stderr(), "error: {self}");
        ExitCode::from(self.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::WrongUse(message) | Failure::Failed(message)) = self;
        f.write_str(message)
    }
}

/// The end of a command: success, or the report of its failure.
pub fn exit(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Writes what a command found. A reader that closes its end early, such as `head`, has what it wanted.
///
/// # Errors
/// A failure where the text could not be written for another reason.
pub fn print(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format_args!("the output could not be written: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure_and_a_full_disk_is() {
        assert_eq!(print(&mut Closed(io::ErrorKind::BrokenPipe), "text"), Ok(()));
        let full = print(&mut Closed(io::ErrorKind::StorageFull), "text").unwrap_err();
        assert_eq!(full.code(), 1);
    }

    #[test]
    fn wrong_use_and_failure_have_their_codes() {
        assert_eq!((Failure::wrong_use("no").code(), Failure::failed("no").code()), (2, 1));
    }
}
