//! `infergate predict`: runs a model on values from the command line or from files, and shows what it answers and
//! where the time went. It asks for the model's signature first, so that values need no types.

mod classes;
mod draw;
mod timing;
mod values;

use std::io::Write;
use std::time::Instant;

use clap::Args;
use tonic::Status;

use super::client::{self, Client, ServerArgs};
use super::failure::{Failure, print};
use super::json::pretty;
use super::message::answer::Answer;
use super::message::given::{self, Given};
use super::message::request::{self, Wanted};
use super::signature;
use crate::wire::proto::inference::{ModelInferRequest, ModelInferResponse};
use draw::Shown;
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

/// Flags of `infergate predict`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PredictArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The model to run
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Its version; the server's choice where this is left out
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    model_version: String,
    /// An input, or a file that names its own; may be given several times
    #[arg(long = "input", visible_alias = "inputs", value_name = "NAME=VALUE|NAME=@FILE|@FILE")]
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

/// Calls that went well: how long each took, and what the last one answered.
struct Calls {
    millis: Vec<f64>,
    timing: Timing,
    response: ModelInferResponse,
}

impl PredictArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        client::block_on(self.predict(&mut std::io::stdout()))
    }

    async fn predict(&self, out: &mut impl Write) -> Result<(), Failure> {
        let mut client = self.server.connect().await?;
        let signature = signature::ask(&self.server, &mut client, &self.model, &self.model_version).await?;
        let inputs = given::tensors(&self.inputs, &signature)?;
        let message = request::message(&self.wanted(), &inputs, &signature)?;
        let classified = request::classified(&message);
        let Calls { millis, timing, response } = self.calls(&mut client, message).await?;
        let answer = Answer::read(response).map_err(|error| Failure::failed(error.within("the answer")))?;
        let spread = (millis.len() > 1).then(|| Spread::new(millis));
        let shown = Shown { answer: &answer, classified: &classified, timing: &timing, spread: spread.as_ref() };
        print(out, &if self.json { pretty(&shown.json()) } else { shown.text() })
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            model: self.model.clone(),
            version: self.model_version.clone(),
            outputs: self.outputs.clone(),
            classes: self.classes,
            typed: self.typed,
            ..Wanted::default()
        }
    }

    /// Calls as often as was asked for, and no further than the first failure.
    async fn calls(&self, client: &mut Client, message: ModelInferRequest) -> Result<Calls, Failure> {
        let mut millis = Vec::new();
        loop {
            let request = self.server.request(message.clone());
            let started = Instant::now();
            let response = client.model_infer(request).await;
            let took = started.elapsed();
            let (metadata, response, _) = response.map_err(|status| self.refused(&status, millis.len()))?.into_parts();
            let header = metadata.get(KEY).and_then(|value| value.to_str().ok());
            let timing = Timing::new(took, header);
            millis.push(timing.client);
            if millis.len() >= self.repeat as usize {
                return Ok(Calls { millis, timing, response });
            }
        }
    }

    fn refused(&self, status: &Status, before: usize) -> Failure {
        let failure = self.server.refused(status);
        match self.repeat {
            1 => failure,
            calls => Failure::failed(format_args!("call {} of {calls}: {failure}", before + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::stub::Stub;
    use crate::wire::proto::inference::model_infer_response::InferOutputTensor;
    use crate::wire::proto::inference::model_metadata_response::TensorMetadata;
    use crate::wire::proto::inference::{InferTensorContents, ModelMetadataResponse};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        predict: PredictArgs,
    }

    fn parsed(flags: &[&str]) -> Result<PredictArgs, clap::Error> {
        let flags = ["predict", "--model", "m"].iter().chain(flags);
        Command::try_parse_from(flags).map(|command| command.predict)
    }

    #[test]
    fn inputs_of_one_and_of_several_are_taken_in_their_order() {
        let predict = parsed(&["--input", "x=1", "--inputs", "@all.npz", "--input", "y=@y.npy"]).unwrap();
        assert_eq!(predict.inputs, ["x=1", "@all.npz", "y=@y.npy"].map(|text| text.parse().unwrap()));
    }

    #[test]
    fn flags_that_contradict_one_another_or_mean_nothing_are_refused() {
        for flags in [&["--raw", "--typed"][..], &["--classes", "0"], &["--repeat", "0"], &["--input", "1.5"]] {
            assert!(parsed(flags).is_err(), "{flags:?}");
        }
        assert!(parsed(&["--timeout", "5"]).is_err());
        assert!(parsed(&["--target", "localhost"]).is_err());
    }

    #[test]
    fn values_that_begin_with_a_minus_are_values() {
        assert!(parsed(&["--input", "x=-1.5"]).is_ok());
    }

    /// A server of `m`, which takes INT8 of any length as `x` and answers 3 and 4 as `y`.
    fn stub() -> Stub {
        let tensor = |name: &str| TensorMetadata { name: name.into(), datatype: "INT8".into(), shape: vec![-1] };
        let (inputs, outputs) = (vec![tensor("x")], vec![tensor("y")]);
        Stub::default().answering("ModelMetadata", &ModelMetadataResponse { inputs, outputs, ..Default::default() })
    }

    fn answer(raw: bool) -> ModelInferResponse {
        let contents = InferTensorContents { int_contents: vec![3, 4], ..Default::default() };
        let contents = (!raw).then_some(contents);
        let (name, datatype, shape) = ("y".into(), "INT8".into(), vec![2]);
        ModelInferResponse {
            model_name: "m".into(),
            model_version: "7".into(),
            outputs: vec![InferOutputTensor { name, datatype, shape, contents, ..Default::default() }],
            raw_output_contents: if raw { vec![vec![3, 4].into()] } else { vec![] },
            ..Default::default()
        }
    }

    async fn shown(stub: &Stub, flags: &[&str]) -> Result<String, Failure> {
        let target = stub.start().await;
        let predict = parsed(&[&["--target", &target, "--input", "x=[1,2]"], flags].concat()).unwrap();
        let mut out = Vec::new();
        predict.predict(&mut out).await.map(|()| String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn an_answer_is_shown_with_the_stages_in_its_trailers() {
        let timing = "execute;dur=0.001, total;dur=0.001";
        let stub = stub().answering("ModelInfer", &answer(true)).with_trailer(KEY, timing);
        let text = shown(&stub, &[]).await.unwrap();
        assert!(text.starts_with("m version 7\n\n"), "{text}");
        assert!(text.contains("\ny       INT8      [2]    [3, 4]\n"), "{text}");
        let stages: Vec<&str> = text.lines().rev().take(2).collect();
        assert!(stages[1].starts_with("execute") && stages[0].starts_with("network and client"), "{text}");
    }

    #[tokio::test]
    async fn typed_calls_and_servers_that_do_not_time_are_understood() {
        let stub = stub().answering("ModelInfer", &answer(false));
        let text = shown(&stub, &["--typed", "--json"]).await.unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["outputs"][0]["data"], serde_json::json!([3, 4]));
        assert!(json["timing"]["client_ms"].is_number(), "{text}");
    }

    #[tokio::test]
    async fn headers_and_the_deadline_go_with_each_call() {
        let stub = stub().answering("ModelInfer", &answer(true));
        let text = shown(&stub, &["--header", "authorization=Bearer t", "--timeout", "9s", "--repeat", "3"]).await;
        assert!(text.unwrap().contains("3 calls in ms: min "));
        assert_eq!(stub.seen().len(), 4);
        for headers in stub.seen() {
            assert_eq!(headers["authorization"], "Bearer t");
            assert!(headers.contains_key("grpc-timeout"), "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_says_which_of_several_calls_it_was() {
        let stub = stub().refusing("ModelInfer", 8, "full");
        assert_eq!(shown(&stub, &[]).await, Err(Failure::failed("full (RESOURCE_EXHAUSTED)")));
        let repeated = shown(&stub, &["--repeat", "5"]).await;
        assert_eq!(repeated, Err(Failure::failed("call 1 of 5: full (RESOURCE_EXHAUSTED)")));
    }
}
