//! `infergate predict`: runs a model on values from the command line or from files, and shows what it answers and
//! where the time went. It asks for the model's signature first, so that values need no types.

mod answer;
mod array;
mod classes;
mod contents;
mod draw;
mod fit;
mod given;
mod number;
mod numpy;
mod request;
mod timing;
mod values;
mod widen;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use tonic::Response;

use super::client::{Client, ServerArgs};
use super::failure::{Failure, exit, print};
use super::signature::signature;
use crate::tensor::Signature;
use crate::wire::proto::inference::{ModelInferRequest, ModelInferResponse, ModelMetadataRequest};
use answer::Answer;
use draw::Shown;
use given::Given;
use request::Wanted;
use timing::{KEY, Spread, Timing};

const EXAMPLES: &str = "\
Values are JSON: nested lists, a number, or text, which needs no quotes where it is a single one. A file is .json, .npy \
or .npz; - reads JSON from standard input. A value whose shape lacks leading dimensions of 1, or a flat list that can \
have only one shape, is shaped as the model wants it. Elements of .npy files are converted only where nothing can be \
lost: int32 to INT64, but not float64 to FP32.

Examples:
  infergate predict --model digits --input image=@seven.npy --classes 3
  infergate predict --model sum --input 'a=[1, 2, 3]' --input 'b=[4, 5, 6]'
  infergate predict --model penguins --inputs @penguin.json --json
  infergate predict --model digits --input image=@batch.npz:images --output probs --repeat 100";

/// Run a model once and show its answer and where the time went
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Predict {
    #[command(flatten)]
    server: ServerArgs,

    /// The model to run
    #[arg(long, value_name = "NAME")]
    model: String,

    /// Its version; the server's choice where this is left out
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    model_version: String,

    /// An input, or a file that names its own; may be given several times
    #[arg(long = "input", alias = "inputs", value_name = "NAME=VALUE|NAME=@FILE|@FILE")]
    inputs: Vec<Given>,

    /// An output to ask for, all where this is left out; may be given several times
    #[arg(long = "output", value_name = "NAME")]
    outputs: Vec<String>,

    /// Ask for the best N classes of each output instead of its values
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    classes: Option<u32>,

    /// Call N times, one after another; show the last answer and how the times spread
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// Answer in JSON, with every value
    #[arg(long)]
    json: bool,

    /// Send tensors as bytes, which is the default
    #[arg(long, conflicts_with = "typed")]
    raw: bool,

    /// Send tensors element by element
    #[arg(long)]
    typed: bool,
}

impl Predict {
    /// Runs the command: 0 where the model answered, 1 where it did not, 2 where it was asked wrongly.
    pub async fn run(self) -> ExitCode {
        exit(self.predict(&mut std::io::stdout().lock()).await)
    }

    async fn predict(self, out: &mut impl Write) -> Result<(), Failure> {
        let mut client = self.server.connect().await?;
        let signature = self.signature(&mut client).await?;
        let inputs = given::tensors(&self.inputs, &signature)?;
        let message = request::message(&self.wanted(), &inputs, &signature)?;
        let mut calls = self.calls(&mut client, message).await?;
        let (timing, response) = calls.last()?;
        let answer = Answer::read(response).map_err(|error| Failure::failed(format_args!("the answer: {error}")))?;
        let shown =
            Shown { answer: &answer, classes: self.classes.is_some(), timing: &timing, spread: calls.spread().as_ref() };
        print(out, &if self.json { format!("{:#}\n", shown.json()) } else { shown.text() })
    }
}
