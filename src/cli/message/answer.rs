//! A server's answer as tensors, whichever form it came in.

use bytes::Bytes;

use super::contents;
use crate::error::{Error, Result};
use crate::tensor::{DType, Shape, Tensor};
use crate::wire::proto::inference::ModelInferResponse;
use crate::wire::proto::inference::model_infer_response::InferOutputTensor;

/// What a model answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The model that ran.
    pub model: String,
    /// The version that ran.
    pub version: String,
    /// What came out.
    pub outputs: Vec<Tensor>,
}

impl Answer {
    /// Reads the message.
    ///
    /// # Errors
    /// `Invalid` where it contradicts itself.
    pub fn read(response: ModelInferResponse) -> Result<Answer> {
        let (outputs, raw) = (response.outputs, response.raw_output_contents);
        if !raw.is_empty() && raw.len() != outputs.len() {
            let (outputs, raw) = (outputs.len(), raw.len());
            return Err(Error::invalid(format!("{outputs} outputs, but {raw} raw_output_contents")));
        }
        let mut raw = raw.into_iter();
        let outputs = outputs.into_iter().map(|output| tensor(output, raw.next())).collect::<Result<_>>()?;
        Ok(Answer { model: response.model_name, version: response.model_version, outputs })
    }
}

fn tensor(output: InferOutputTensor, raw: Option<Bytes>) -> Result<Tensor> {
    let blamed = |error: Error| error.within(format_args!("output {:?}", output.name));
    let dtype = DType::from_name(&output.datatype)
        .ok_or_else(|| blamed(Error::invalid(format!("unknown datatype {:?}", output.datatype))))?;
    let shape = Shape::new(&output.shape).map_err(blamed)?;
    let data = match raw {
        Some(raw) => raw,
        None => contents::raw(dtype, &output.contents.clone().unwrap_or_default()).map_err(blamed)?.into(),
    };
    Tensor::new(output.name.as_str().into(), dtype, shape, data.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::inference::InferTensorContents;

    fn output(datatype: &str, contents: Option<InferTensorContents>) -> InferOutputTensor {
        InferOutputTensor {
            name: "y".into(),
            datatype: datatype.into(),
            shape: vec![2],
            contents,
            ..Default::default()
        }
    }

    fn read(output: InferOutputTensor, raw: &[&'static [u8]]) -> Result<Vec<u8>, String> {
        let raw_output_contents = raw.iter().map(|bytes| Bytes::from_static(bytes)).collect();
        let response = ModelInferResponse { outputs: vec![output], raw_output_contents, ..Default::default() };
        let answer = Answer::read(response).map_err(|error| error.to_string())?;
        Ok(answer.outputs[0].data().to_bytes().to_vec())
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(read(output("INT8", None), &[&[1, 2]]), Ok(vec![1, 2]));
        let contents = InferTensorContents { int_contents: vec![1, -1], ..Default::default() };
        assert_eq!(read(output("INT8", Some(contents)), &[]), Ok(vec![1, 255]));
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_refused() {
        assert_eq!(read(output("INT8", None), &[&[1, 2], &[3]]), Err("1 outputs, but 2 raw_output_contents".into()));
        assert_eq!(read(output("FP8", None), &[&[1, 2]]), Err("output \"y\": unknown datatype \"FP8\"".into()));
        assert!(read(output("INT8", None), &[&[1]]).unwrap_err().contains("takes 2 bytes, got 1"));
        assert!(read(output("INT8", None), &[]).unwrap_err().contains("takes 2 bytes, got 0"));
    }
}
