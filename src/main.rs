//! The process.

use std::process::ExitCode;

fn main() -> ExitCode {
    infergate::cli::main()
}
