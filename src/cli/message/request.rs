//! The message of a call.

use std::str::FromStr;

use super::contents;
use crate::cli::failure::Failure;
use crate::cli::signature::names;
use crate::tensor::{DType, Signature, Tensor, TensorSpec};
use crate::wire::proto::inference::infer_parameter::ParameterChoice;
use crate::wire::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::proto::inference::{InferParameter, ModelInferRequest};

/// What is asked for beside the inputs.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The model.
    pub model: String,
    /// Its version; empty leaves the choice to the server.
    pub version: String,
    /// The outputs; none for all.
    pub outputs: Vec<String>,
    /// Where given, the best so many classes instead of the values, of outputs that have numbers.
    pub classes: Option<u32>,
    /// Whether tensors travel element by element and not as bytes.
    pub typed: bool,
    /// Parameters of the request, such as `priority`.
    pub parameters: Vec<Parameter>,
}

/// A parameter of a request: its name and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter(String, ParameterChoice);

impl FromStr for Parameter {
    type Err = &'static str;

    /// `NAME=VALUE`: a truth value or a whole number where the value reads as one, text otherwise.
    fn from_str(text: &str) -> Result<Parameter, &'static str> {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
        let choice = match (value.parse(), value.parse()) {
            (Ok(truth), _) => ParameterChoice::BoolParam(truth),
            (_, Ok(number)) => ParameterChoice::Int64Param(number),
            _ => ParameterChoice::StringParam(value.to_owned()),
        };
        Ok(Parameter(name.to_owned(), choice))
    }
}

/// The message. Classes are asked for by output, so that all outputs are named where none is.
///
/// # Errors
/// A wrong use where an output is not the model's, or an input has no typed form and shall have one.
pub fn message(wanted: &Wanted, inputs: &[Tensor], signature: &Signature) -> Result<ModelInferRequest, Failure> {
    let raw = if wanted.typed { Vec::new() } else { inputs.iter().map(|tensor| tensor.data().to_bytes()).collect() };
    Ok(ModelInferRequest {
        model_name: wanted.model.clone(),
        model_version: wanted.version.clone(),
        inputs: inputs.iter().map(|tensor| input(tensor, wanted.typed)).collect::<Result<_, _>>()?,
        outputs: outputs(wanted, &signature.outputs)?,
        raw_input_contents: raw,
        parameters: wanted.parameters.iter().map(parameter).collect(),
        ..Default::default()
    })
}

fn parameter(Parameter(name, choice): &Parameter) -> (String, InferParameter) {
    (name.clone(), InferParameter { parameter_choice: Some(choice.clone()) })
}

/// The names of the outputs of which a message asks for classes.
pub fn classified(message: &ModelInferRequest) -> Vec<String> {
    let asked = message.outputs.iter().filter(|output| !output.parameters.is_empty());
    asked.map(|output| output.name.clone()).collect()
}

fn outputs(wanted: &Wanted, known: &[TensorSpec]) -> Result<Vec<InferRequestedOutputTensor>, Failure> {
    if wanted.outputs.is_empty() {
        let classified = |spec: &TensorSpec| wanted.classes.map(|classes| output(spec, Some(classes)));
        return Ok(known.iter().filter_map(classified).collect());
    }
    let find = |name: &String| match known.iter().find(|spec| spec.name == **name) {
        Some(spec) => Ok(output(spec, wanted.classes)),
        None => {
            let known = names(known);
            Err(Failure::wrong_use(format_args!("the model has no output {name:?}: it gives {known}")))
        }
    };
    wanted.outputs.iter().map(find).collect()
}

fn input(tensor: &Tensor, typed: bool) -> Result<InferInputTensor, Failure> {
    let contents = match typed {
        true => Some(contents::typed(tensor).ok_or_else(|| {
            let (name, dtype) = (tensor.name(), tensor.dtype());
            Failure::wrong_use(format_args!("input {name:?}: {dtype} has no typed form: leave out --typed"))
        })?),
        false => None,
    };
    Ok(InferInputTensor {
        name: tensor.name().to_string(),
        datatype: tensor.dtype().name().to_owned(),
        shape: tensor.shape().to_vec(),
        contents,
        ..Default::default()
    })
}

/// One output, of which classes are asked for where its elements have an order.
fn output(spec: &TensorSpec, classes: Option<u32>) -> InferRequestedOutputTensor {
    let parameter = |count| InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(i64::from(count))) };
    let classes = classes.filter(|_| spec.dtype != DType::Bytes);
    let parameters = classes.map(|count| ("classification".to_owned(), parameter(count))).into_iter().collect();
    InferRequestedOutputTensor { name: spec.name.to_string(), parameters }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    fn signature() -> Signature {
        let spec = |name: &'static str, dtype| TensorSpec { name: name.into(), dtype, dims: vec![], optional: true };
        let outputs = vec![spec("probs", DType::Fp32), spec("name", DType::Bytes)];
        Signature { inputs: vec![spec("x", DType::Fp32)], outputs }
    }

    fn scalar(dtype: DType) -> Tensor {
        let raw = vec![0; dtype.size().unwrap()];
        Tensor::new("x".into(), dtype, Shape::new(&[]).unwrap(), raw.into()).unwrap()
    }

    fn built(wanted: Wanted, dtype: DType) -> Result<ModelInferRequest, String> {
        message(&wanted, &[scalar(dtype)], &signature()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn inputs_travel_raw_unless_they_shall_be_typed() {
        let raw = built(Wanted::default(), DType::Fp16).unwrap();
        assert_eq!((raw.inputs[0].contents.is_none(), raw.raw_input_contents.len()), (true, 1));
        let typed = built(Wanted { typed: true, ..Default::default() }, DType::Fp32).unwrap();
        assert_eq!((typed.inputs[0].contents.is_some(), typed.raw_input_contents.len()), (true, 0));
        let refusal = built(Wanted { typed: true, ..Default::default() }, DType::Fp16).unwrap_err();
        assert_eq!(refusal, "input \"x\": FP16 has no typed form: leave out --typed");
    }

    #[test]
    fn classes_are_asked_of_every_output_with_numbers_unless_some_are_named() {
        let names =
            |message: &ModelInferRequest| message.outputs.iter().map(|output| output.name.clone()).collect::<Vec<_>>();
        let all = built(Wanted { classes: Some(3), ..Default::default() }, DType::Fp32).unwrap();
        let choice = all.outputs[0].parameters["classification"].parameter_choice.clone();
        assert_eq!(choice, Some(ParameterChoice::Int64Param(3)));
        assert_eq!((names(&all), classified(&all)), (vec!["probs".into(), "name".into()], vec!["probs".into()]));
        let one = Wanted { classes: Some(3), outputs: vec!["probs".into()], ..Default::default() };
        assert_eq!(names(&built(one, DType::Fp32).unwrap()), ["probs"]);
        assert!(names(&built(Wanted::default(), DType::Fp32).unwrap()).is_empty());
    }

    #[test]
    fn a_parameter_is_of_the_type_that_its_value_reads_as() {
        let parameters = ["priority=1", "sorted=true", "user=me"].map(|text| text.parse().unwrap()).to_vec();
        let message = built(Wanted { parameters, ..Default::default() }, DType::Fp32).unwrap();
        let choice = |name: &str| message.parameters[name].parameter_choice.clone().unwrap();
        assert_eq!(choice("priority"), ParameterChoice::Int64Param(1));
        assert_eq!(choice("sorted"), ParameterChoice::BoolParam(true));
        assert_eq!(choice("user"), ParameterChoice::StringParam("me".into()));
        assert!("=1".parse::<Parameter>().is_err() && "priority".parse::<Parameter>().is_err());
    }

    #[test]
    fn an_output_that_the_model_does_not_have_is_refused_here() {
        let wanted = Wanted { outputs: vec!["prob".into()], ..Default::default() };
        assert_eq!(built(wanted, DType::Fp32), Err("the model has no output \"prob\": it gives probs, name".into()));
    }
}
