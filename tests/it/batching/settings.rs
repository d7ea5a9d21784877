//! What a model's settings of batching get wrong is told where an operator looks.

use infergate::tensor::DType;
use infergate::wire::proto::inference as proto;
use tonic::Code;

use crate::harness::{FREE, Model, Serving, echo_of, within};

/// Why models with these settings are not served. Each takes `x` [batch, 4] and a `threshold`.
async fn reasons(settings: &[&str], threshold: &[&'static str]) -> Vec<String> {
    let model = |(index, settings): (usize, &&str)| {
        let model = Model::new(&format!("m{index}")).takes("x", DType::Fp32, &["batch", "4"]);
        let model = model.takes("threshold", DType::Fp32, threshold).gives("y", DType::Fp32, &["batch", "4"]);
        model.settings(settings)
    };
    let serving = Serving::of(settings.iter().enumerate().map(model).chain([Model::echo()])).await;
    let index = within(serving.oip().await.repository_index(proto::RepositoryIndexRequest::default())).await.unwrap();
    let models = index.into_inner().models.into_iter().filter(|model| model.name != "echo");
    let reasons = models.map(|model| match &*model.state {
        "UNAVAILABLE" => model.reason,
        state => format!("{} is {state}", model.name),
    });
    let reasons = reasons.collect();
    serving.answers_as_ever().await;
    serving.finish().await;
    reasons
}

#[tokio::test]
async fn a_model_that_cannot_be_batched_says_which_tensor_forbids_it_to_whoever_asks_for_batches() {
    let because = "the model cannot be batched: input \"threshold\" is a scalar";
    let asking = [
        ("batch.max_batch = 16", "max_batch"),
        ("batch.max_delay = \"1ms\"", "max_delay"),
        ("batch.allowed_sizes = [1, 2]", "allowed_sizes"),
        ("batch.slo_p99 = \"20ms\"", "slo_p99"),
        ("batch.dims.batch.buckets = [8]", "dims"),
    ];
    let told = reasons(&asking.map(|(settings, _)| settings), &[]).await;
    assert_eq!(told, asking.map(|(_, key)| format!("model.toml: batch.{key}: {because}")));
    // Nobody asks for batches here, and so it is served call by call.
    assert_eq!(reasons(&["batch.max_batch = 1", ""], &[]).await, ["m0 is READY", "m1 is READY"]);
}

#[tokio::test]
async fn symbols_and_inputs_that_the_model_does_not_have_are_told() {
    let settings = [
        "batch.axis = \"rows\"",
        "batch.dims.sequence.buckets = [8]",
        "batch.dims.batch.buckets = [8]",
        "batch.dims.width = { buckets = [8], mask = \"mask\" }",
        "batch.dims.width = { buckets = [8, 4] }",
        "batch = { max_batch = 8, allowed_sizes = [2, 4] }",
    ];
    let told = reasons(&settings, &["batch", "width"]).await;
    let expected = [
        "batch.axis: the model cannot be batched: input \"x\" has no dimension rows: [batch,4]",
        "batch.dims.sequence: no input of the model has such a dimension",
        "batch.dims.batch: it is the batch axis, whose sizes are allowed_sizes",
        "batch.dims.width.mask: the model has no input \"mask\"",
        "batch.dims.width.buckets: found [8, 4], allowed is whole numbers of 1 to 65536 that rise",
        "batch.max_batch: found 8, allowed is 4, the last of allowed_sizes",
    ];
    assert_eq!(told, expected.map(|sentence| format!("model.toml: {sentence}")));
}

#[tokio::test]
async fn a_model_with_a_mistake_in_its_settings_refuses_calls_with_the_sentence() {
    let model = Model::identity("rows", DType::Fp32, &[FREE]).settings("batch.axis = \"batch\"");
    let serving = Serving::of([model]).await;
    let status = within(serving.oip().await.model_infer(echo_of("rows", &[1.0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("input \"x\" has no dimension batch"), "{status}");
    serving.finish().await;
}
