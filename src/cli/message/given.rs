//! What the flags give as inputs, from the text on the command line to the model's tensors.

use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use serde_json::Value;

use super::array::Array;
use super::numpy;
use crate::cli::failure::Failure;
use crate::cli::signature::names;
use crate::error::{Error, Result};
use crate::tensor::{DType, Signature, Tensor, TensorSpec};

/// One input, or a file of several, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The input's name; none where a file names its own, or the model has one input only.
    name: Option<String>,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Inline(String),
    /// A path, with the name of an array behind it where it is one of an archive. `-` is standard input.
    File(String),
}

impl FromStr for Given {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Given, &'static str> {
        if let Some(file) = text.strip_prefix('@') {
            return Ok(Given { name: None, source: Source::File(file.to_owned()) });
        }
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, NAME=@FILE or @FILE")?;
        let source = match value.strip_prefix('@') {
            Some(file) => Source::File(file.to_owned()),
            None => Source::Inline(value.to_owned()),
        };
        Ok(Given { name: Some(name.to_owned()), source })
    }
}

/// The tensors that were given, in that order.
///
/// # Errors
/// A wrong use, naming the input and what it should have been.
pub fn tensors(given: &[Given], signature: &Signature) -> Result<Vec<Tensor>, Failure> {
    let mut tensors: Vec<Tensor> = Vec::new();
    for given in given {
        for (name, array) in given.arrays(signature).map_err(Failure::wrong_use)? {
            let spec = known(&name, signature).map_err(Failure::wrong_use)?;
            if tensors.iter().any(|tensor| *tensor.name() == name.as_str()) {
                return Err(Failure::wrong_use(format_args!("input {name:?} is given twice")));
            }
            tensors.push(array.tensor(spec).map_err(Failure::wrong_use)?);
        }
    }
    Ok(tensors)
}

fn known<'a>(name: &str, signature: &'a Signature) -> Result<&'a TensorSpec> {
    let found = signature.inputs.iter().find(|spec| spec.name == *name);
    found.ok_or_else(|| {
        Error::invalid(format!("the model has no input {name:?}: it takes {}", names(&signature.inputs)))
    })
}

/// What a file holds.
enum Content {
    One(Array),
    Several(Vec<(String, Array)>),
}

impl Given {
    fn arrays(&self, signature: &Signature) -> Result<Vec<(String, Array)>> {
        match (&self.name, &self.source) {
            (Some(name), Source::Inline(text)) => {
                let array = inline(text, known(name, signature)?.dtype);
                Ok(vec![(name.clone(), array.map_err(|error| error.within(format_args!("input {name:?}")))?)])
            }
            (Some(name), Source::File(file)) => {
                let array = open(file).and_then(|content| content.one(name));
                let blamed = |error: Error| error.within(format_args!("input {name:?}: {file}"));
                Ok(vec![(name.clone(), array.map_err(blamed)?)])
            }
            (None, Source::File(file)) => {
                let content = open(file).map_err(|error| error.within(file))?;
                content.named(signature)
            }
            (None, Source::Inline(_)) => unreachable!("only a file is given without a name"),
        }
    }
}

impl Content {
    /// The array for the input of that name.
    fn one(self, name: &str) -> Result<Array> {
        match self {
            Content::One(array) => Ok(array),
            Content::Several(mut arrays) if arrays.len() == 1 => Ok(arrays.remove(0).1),
            Content::Several(arrays) => {
                let names: Vec<String> = arrays.iter().map(|(name, _)| format!("{name:?}")).collect();
                let own = arrays.into_iter().find(|(known, _)| known == name).map(|(_, array)| array);
                own.ok_or_else(|| Error::invalid(format!("it holds {}, none of that name", names.join(", "))))
            }
        }
    }

    /// The arrays by name; one without a name is the only input's.
    fn named(self, signature: &Signature) -> Result<Vec<(String, Array)>> {
        match (self, signature.inputs.as_slice()) {
            (Content::Several(arrays), _) => Ok(arrays),
            (Content::One(array), [only]) => Ok(vec![(only.name.to_string(), array)]),
            (Content::One(_), inputs) => {
                Err(Error::invalid(format!("name the input that the file is for: one of {}", names(inputs))))
            }
        }
    }
}

/// A value on the command line: JSON, or for a BYTES input the text itself, unless it begins as JSON's lists and
/// strings do.
fn inline(text: &str, dtype: DType) -> Result<Array> {
    if dtype == DType::Bytes && !text.starts_with(['[', '"']) {
        return Ok(Array::text(text));
    }
    let value = serde_json::from_str(text).map_err(|error| Error::invalid(format!("it is no JSON: {error}")))?;
    Array::literal(value)
}

/// Reads a file by its kind, which its name tells.
fn open(file: &str) -> Result<Content> {
    if let Some((path, member)) = file.rsplit_once(".npz:") {
        return numpy::open_npz(Path::new(&format!("{path}.npz")), Some(member)).map(Content::Several);
    }
    let path = Path::new(file);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => numpy::open_npy(path).map(Content::One),
        Some("npz") => numpy::open_npz(path, None).map(Content::Several),
        Some("json") => json(std::fs::File::open(path)),
        None if file == "-" => json(Ok(std::io::stdin())),
        _ => Err(Error::invalid("only .json, .npy and .npz files can be read, and JSON from standard input as -")),
    }
}

fn json(source: std::io::Result<impl Read>) -> Result<Content> {
    let mut text = String::new();
    source
        .and_then(|mut source| source.read_to_string(&mut text))
        .map_err(|error| Error::invalid(format!("it cannot be read: {error}")))?;
    parsed(&text)
}

/// The content of a JSON file: an object of inputs by name, or one tensor.
fn parsed(text: &str) -> Result<Content> {
    match serde_json::from_str(text).map_err(|error| Error::invalid(format!("it is no JSON: {error}")))? {
        Value::Object(entries) => {
            let array = |(name, value)| match Array::literal(value) {
                Ok(array) => Ok((name, array)),
                Err(error) => Err(error.within(format_args!("input {name:?}"))),
            };
            entries.into_iter().map(array).collect::<Result<_>>().map(Content::Several)
        }
        value => Array::literal(value).map(Content::One),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Dim;

    fn signature(inputs: &[(&'static str, DType)]) -> Signature {
        let spec = |(name, dtype): &(&'static str, DType)| {
            let dims = vec![Dim::Free(Some("batch".into())), Dim::Fixed(2)];
            TensorSpec { name: (*name).into(), dtype: *dtype, dims, optional: true }
        };
        Signature { inputs: inputs.iter().map(spec).collect(), outputs: vec![] }
    }

    fn one() -> Signature {
        signature(&[("x", DType::Uint8)])
    }

    fn two() -> Signature {
        signature(&[("x", DType::Uint8), ("s", DType::Bytes)])
    }

    fn given(flags: &[&str], signature: &Signature) -> Result<Vec<Tensor>, String> {
        let given: Vec<Given> = flags.iter().map(|flag| flag.parse().unwrap()).collect();
        tensors(&given, signature).map_err(|failure| {
            assert_eq!(failure.code(), 2);
            failure.to_string()
        })
    }

    fn file(suffix: &str, content: &str) -> tempfile::TempPath {
        let file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
        std::fs::write(&file, content).unwrap();
        file.into_temp_path()
    }

    #[test]
    fn inline_values_are_json_in_the_order_given() {
        let tensors = given(&["s=[\"a\",\"b\"]", "x=[[1,2],[3,4]]"], &two()).unwrap();
        assert_eq!(tensors.iter().map(|tensor| tensor.name().to_string()).collect::<Vec<_>>(), ["s", "x"]);
        assert_eq!(tensors[1].data().to_bytes().as_ref(), [1, 2, 3, 4]);
    }

    #[test]
    fn text_for_a_text_input_needs_no_quotes() {
        let text = signature(&[("s", DType::Bytes)]);
        let scalar = Signature { inputs: vec![TensorSpec { dims: vec![], ..text.inputs[0].clone() }], outputs: vec![] };
        for (flag, expected) in [("s=Dream", "Dream"), ("s=12", "12"), ("s=\"12\"", "12"), ("s=a=b", "a=b"), ("s=", "")]
        {
            let tensors = given(&[flag], &scalar).unwrap();
            assert_eq!(tensors[0].elements().collect::<Vec<_>>(), [expected.as_bytes()], "{flag}");
        }
    }

    #[test]
    fn a_file_of_json_holds_one_input_or_several() {
        let tensor = file(".json", "[[1, 2]]");
        let object = file(".json", r#"{"x": [[3, 4]], "s": [["a", "b"]]}"#);
        let (tensor, object) = (tensor.display(), object.display());
        assert_eq!(given(&[&format!("x=@{tensor}")], &two()).unwrap()[0].data().to_bytes().as_ref(), [1, 2]);
        assert_eq!(given(&[&format!("@{tensor}")], &one()).unwrap()[0].data().to_bytes().as_ref(), [1, 2]);
        assert_eq!(given(&[&format!("@{object}")], &two()).unwrap().len(), 2);
        assert_eq!(given(&[&format!("x=@{object}")], &two()).unwrap()[0].data().to_bytes().as_ref(), [3, 4]);
        let unnamed = given(&[&format!("@{tensor}")], &two()).unwrap_err();
        assert_eq!(unnamed, "name the input that the file is for: one of x, s");
    }

    #[test]
    fn what_is_wrong_is_said_with_the_name_of_the_input() {
        assert_eq!(given(&["y=1"], &two()), Err("the model has no input \"y\": it takes x, s".into()));
        assert_eq!(given(&["x=[1,2]", "x=[1,2]"], &two()), Err("input \"x\" is given twice".into()));
        assert!(given(&["x=[1,"], &two()).unwrap_err().starts_with("input \"x\": it is no JSON: "));
        assert_eq!(given(&["x=[1,2,3]"], &two()), Err("input \"x\": expected shape [batch,2], got [3]".into()));
        let missing = given(&["x=@/nowhere/x.npy"], &two()).unwrap_err();
        assert!(missing.starts_with("input \"x\": /nowhere/x.npy: it cannot be read: "), "{missing}");
        assert!(given(&["@x.txt"], &one()).unwrap_err().starts_with("x.txt: only .json, .npy and .npz"));
    }

    #[test]
    fn a_flag_without_a_name_is_a_file() {
        assert!("1.5".parse::<Given>().is_err());
        assert_eq!("@a=b.npy".parse(), Ok(Given { name: None, source: Source::File("a=b.npy".into()) }));
        let source = Source::File("x.npz:y".into());
        assert_eq!("x=@x.npz:y".parse(), Ok(Given { name: Some("x".into()), source }));
    }
}
