//! Protobuf's text as people write it, read by `prost-reflect`. Whatever the bytes, it ends with a message or with a
//! problem that names the line; it never recurses deeper than it says.

use miette::Diagnostic;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::problem;
use crate::config::Problem;
use crate::wire::proto::MODEL_CONFIG;
use crate::wire::proto::inference as proto;

/// Real files have six levels at most. The parser recurses, and its caller's stack is small.
const DEEPEST: usize = 32;
/// Characters of the parser's own words: a field's name may be as long as the file.
const LONGEST_COMPLAINT: usize = 300;

/// Reads a file's text.
pub(super) fn parse(text: &str) -> Result<proto::ModelConfig, Problem> {
    let text = prepared(text)?;
    let pool = DescriptorPool::decode(MODEL_CONFIG).expect("our own descriptors are well-formed");
    let descriptor = pool.get_message_by_name("inference.ModelConfig").expect("it is among our own descriptors");
    let message = DynamicMessage::parse_text_format(descriptor, &text).map_err(|error| {
        let label = error.labels().and_then(|mut labels| labels.next());
        let offset = label.map_or(text.len(), |label| label.offset());
        let complaint: String = error.to_string().chars().take(LONGEST_COMPLAINT).collect();
        at(1 + newlines(&text.as_bytes()[..offset.min(text.len())]), complaint)
    })?;
    message.transcode_to().map_err(|error| problem("", error.to_string()))
}

/// Where the scan is.
#[derive(Clone, Copy)]
enum Within {
    Message,
    Comment,
    /// A string, behind the quote that ends it.
    Quoted(char),
    /// Behind a backslash in such a string.
    Escaped(char),
}

/// The text as the parser takes it: a list of messages with the colon that people leave out (`input [ {`), and not too
/// deep. Where strings end is judged as the parser does: up to the first byte that the parser does not take, both agree.
fn prepared(text: &str) -> Result<String, Problem> {
    let mut prepared = String::with_capacity(text.len());
    let (mut within, mut depth, mut line, mut before) = (Within::Message, 0usize, 1, ' ');
    for c in text.chars() {
        line += usize::from(c == '\n');
        within = match (within, c) {
            (Within::Comment | Within::Quoted(_), '\n') => Within::Message,
            (Within::Comment, _) => Within::Comment,
            (Within::Escaped(quote), _) => Within::Quoted(quote),
            (Within::Quoted(quote), '\\') => Within::Escaped(quote),
            (Within::Quoted(quote), _) if c != quote => within,
            (Within::Message, '#') => Within::Comment,
            (Within::Message, '"' | '\'') => Within::Quoted(c),
            (Within::Quoted(_) | Within::Message, _) => Within::Message,
        };
        if matches!(within, Within::Message) {
            match c {
                '[' if before.is_ascii_alphanumeric() || before == '_' => prepared.push(':'),
                '{' | '<' => depth += 1,
                '}' | '>' => depth = depth.saturating_sub(1),
                _ => {}
            }
            before = if c.is_ascii_whitespace() { before } else { c };
        }
        if depth > DEEPEST {
            return Err(at(line, format!("is nested deeper than {DEEPEST} levels")));
        }
        prepared.push(c);
    }
    Ok(prepared)
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn at(line: usize, what: String) -> Problem {
    problem(&format!("line {line}"), what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn lists_are_read_with_and_without_their_colon() {
        for text in [
            "input [ { name: 'a' dims: [ -1, 4 ] }, { name: 'b' } ]",
            "input: [{name:\"a\", dims: -1, dims: 4}, {name: \"b\"}]",
            "input[{ name: 'a' dims [-1, 4] }] # input [ {\ninput < name: 'b' >",
            "input { name: 'a' dims: -1 dims: 4 } input { name: 'b' }",
        ] {
            let config = parse(text).unwrap();
            let names: Vec<&str> = config.input.iter().map(|input| &*input.name).collect();
            assert_eq!((names, &config.input[0].dims[..]), (vec!["a", "b"], &[-1, 4][..]), "{text}");
        }
        assert_eq!(parse("name: 'x [ \\' #' # \"").unwrap().name, "x [ ' #");
    }

    #[test]
    fn mistakes_name_the_line_and_the_field() {
        for (text, told) in [
            (
                "\n\nmax_batch: 3",
                "config.pbtxt: line 3: field 'max_batch' not found for message 'inference.ModelConfig'",
            ),
            ("input [\n  {\n    shape: [1] } ]", "config.pbtxt: line 3: field 'shape' not found for message 'infer"),
            ("name: \"a\"\nname: \"b\"", "config.pbtxt: line 2: 'name' is already set"),
            ("dynamic_batching {}\nsequence_batching {}", "config.pbtxt: line 2: a value is already set for oneof"),
            ("input {\n  data_type: TYPE_FP31 }", "config.pbtxt: line 2: value 'TYPE_FP31' was not found for enum"),
            ("max_batch_size: 99999999999", "config.pbtxt: line 1: expected value to be a signed 32-bit integer"),
            ("input {\n", "config.pbtxt: line 2: expected '}' or a field name, but reached end of input"),
            ("name: \"a\n", "config.pbtxt: line 1: invalid string character"),
            ("@", "config.pbtxt: line 1: invalid token"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.starts_with(told), "{refusal}");
        }
        assert!(refusal(&"x".repeat(1 << 20)).len() < 2 * LONGEST_COMPLAINT);
    }

    #[test]
    fn depth_has_an_end_before_the_stack_does() {
        let any = "[a/inference.ModelConfig] {".repeat(30_000);
        let hidden = "[a/inference.ModelConfig] { name: \"}\" #}\n".repeat(30_000);
        for text in [any, hidden, "{".repeat(1 << 20), "input <".repeat(100_000)] {
            let refusal = refusal(&text);
            assert!(refusal.ends_with("is nested deeper than 32 levels"), "{refusal}");
        }
        assert!(refusal(&"[".repeat(1 << 20)).contains("expected"));
        assert!(parse(&"input {}".repeat(100)).is_ok());
    }

    const SAMPLE: &str = include_str!("../../../tests/fixtures/triton/matmul/config.pbtxt");

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_file_that_was_cut_and_mended_anywhere_is_read_or_refused(
            edits in prop::collection::vec((any::<prop::sample::Index>(), "[\\x00-\\x7f\u{e9}]{0,3}"), 1..6),
        ) {
            let mut text: Vec<char> = SAMPLE.chars().collect();
            for (place, inserted) in edits {
                let from = place.index(text.len());
                let to = text.len().min(from + inserted.len());
                text.splice(from..to, inserted.chars());
            }
            let _ = parse(&text.into_iter().collect::<String>());
        }

        #[test]
        fn words_of_the_language_in_any_order_are_read_or_refused(
            words in prop::collection::vec(prop::sample::select(vec![
                "name", "input", "dims", "{", "}", "[", "]", "<", ">", ":", ",", ";", "\"a\"", "'", "\"", "\\", "-", "1",
                "0x", "1.5e3f", "09", "inf", "TYPE_FP32", "true", "#", "\n", "[a/inference.ModelConfig]", "model_warmup",
                "inputs", "key", "value", "parameters", "dynamic_batching", "priority_queue_policy", "\u{0}", "é",
            ]), 0..60),
        ) {
            let _ = parse(&words.join(" "));
            let _ = parse(&words.concat());
        }
    }
}
