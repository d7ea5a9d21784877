//! Configurations as people write them: what becomes of them, what is refused, what is warned of.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::config::Period;
use crate::models::fixture::Disk;
use crate::models::settings::{BatchSettings, CallerTimeout, OnTimeout, Oversized, QueueSettings};
use crate::tensor::{DType, Dim, Shape, Signature, Tensor, TensorSpec};

fn found(text: &str) -> (Translated, Remarks) {
    translate(&text::parse(text).unwrap(), &"digits".parse().unwrap())
}

/// Of a text with nothing to be said against it.
fn settings(text: &str) -> Settings {
    let (translated, remarks) = found(text);
    assert_eq!(remarks.problems, []);
    translated.settings
}

fn dict(settings: &Settings) -> String {
    serde_json::to_string(&settings.session).unwrap()
}

/// What is refused, a line each.
fn refusals(text: &str) -> Vec<String> {
    found(text).1.problems.iter().map(Problem::to_string).collect()
}

#[test]
fn nothing_said_is_one_call_at_a_time_and_no_timeouts_of_callers() {
    let queue = QueueSettings { caller_timeout: CallerTimeout::Ignored, ..QueueSettings::default() };
    let batch = BatchSettings { max_batch: Some(1), queue, ..BatchSettings::default() };
    assert_eq!(settings(""), Settings { batch, ..Settings::default() });
    for text in ["name: 'digits' platform: 'onnxruntime_onnx'", "backend: 'onnxruntime'", "max_batch_size: 0"] {
        assert_eq!(settings(text), settings(""), "{text}");
    }
}

#[test]
fn batching_and_queues_are_read() {
    let batch = settings(
        "max_batch_size: 16 dynamic_batching { max_queue_delay_microseconds: 150 priority_levels: 3
         default_priority_level: 2
         default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 2500 allow_timeout_override: true
                                max_queue_size: 7 }
         priority_queue_policy { key: 3 value { max_queue_size: 1 } } priority_queue_policy { key: 1 value {} } }",
    )
    .batch;
    assert_eq!((batch.max_batch, batch.oversized), (Some(16), Oversized::Refuse));
    assert_eq!(Some(batch.max_delay), Period::micros(150));
    assert_eq!((batch.priority_levels, batch.default_level()), (3, 2));
    let queue = QueueSettings {
        timeout: Period::micros(2500),
        on_timeout: OnTimeout::Delay,
        caller_timeout: CallerTimeout::Heeded,
        calls: Some(7),
    };
    let without = QueueSettings { caller_timeout: CallerTimeout::Ignored, ..QueueSettings::default() };
    assert_eq!((batch.queue_of(2), batch.queue_of(1)), (queue, without));
    assert_eq!(batch.queue_of(3), QueueSettings { calls: Some(1), ..without });
    let plain = settings("max_batch_size: 4").batch;
    assert_eq!((plain.max_batch, plain.oversized, plain.default_level()), (Some(4), Oversized::Refuse, 1));
}

#[test]
fn instances_are_summed_and_placed() {
    for (text, device, fallback, instances) in [
        ("", "cpu", false, None),
        ("instance_group { kind: KIND_CPU }", "cpu", false, None),
        ("instance_group [ { count: 2 kind: KIND_CPU }, { kind: KIND_CPU } ]", "cpu", false, Some(3)),
        ("instance_group { count: 2 }", "cpu", false, Some(2)),
        ("instance_group { count: 2 kind: KIND_GPU gpus: [ 1 ] }", "cuda:1", false, Some(2)),
        ("instance_group { kind: KIND_GPU }", "cuda:0", false, None),
        ("instance_group { gpus: 2 }", "cuda:2", true, None),
        (
            "instance_group { count: 1 kind: KIND_GPU gpus: [ 3, 4 ] } instance_group { count: 5 kind: KIND_CPU }",
            "cuda:3",
            false,
            Some(1),
        ),
    ] {
        let settings = settings(text);
        assert_eq!((&*settings.device, settings.fallback, settings.instances), (device, fallback, instances), "{text}");
    }
}

#[test]
fn versions_are_read() {
    for (text, policy) in [
        ("version_policy { latest {} }", "\"latest\""),
        ("version_policy: { latest: { num_versions: 2 } }", "\"latest 2\""),
        ("version_policy { all { } }", "\"all\""),
        ("version_policy { specific { versions: [ 3, 1 ] } }", "[1,3]"),
        ("version_policy {}", "\"latest\""),
    ] {
        assert_eq!(serde_json::to_string(&settings(text).versions).unwrap(), policy, "{text}");
    }
}

#[test]
fn what_onnx_runtime_is_told_is_read() {
    let tensorrt = |parameters: &str| {
        format!(
            "instance_group {{ kind: KIND_GPU gpus: 1 }} optimization {{ execution_accelerators {{
             gpu_execution_accelerator [ {{ name: 'tensorrt' {parameters} }} ] }} }}"
        )
    };
    for (text, device, session) in [
        ("optimization { graph { level: -1 } }".into(), "cpu", r#"{"optimization_level":"basic"}"#),
        ("optimization { graph { level: 2 } }".into(), "cpu", r#"{"optimization_level":"disable"}"#),
        ("optimization { graph { level: 0 } }".into(), "cpu", "{}"),
        (
            "parameters { key: 'intra_op_thread_count' value { string_value: '3' } }
             parameters { key: 'inter_op_thread_count' value { string_value: '0' } }
             parameters { key: 'execution_mode' value { string_value: '1' } }
             parameters { key: 'enable_mem_arena' value { string_value: 'false' } }
             parameters { key: 'enable_mem_pattern' value { string_value: '0' } }"
                .into(),
            "cpu",
            r#"{"cpu_arena":false,"intra_op_threads":3,"memory_pattern":false,"parallel_execution":true}"#,
        ),
        (tensorrt(""), "tensorrt:1", "{}"),
        (
            tensorrt("parameters { key: 'precision_mode' value: 'FP16' }"),
            "tensorrt:1",
            r#"{"provider":{"trt_fp16_enable":"1"}}"#,
        ),
    ] {
        let settings = settings(&text);
        assert_eq!((&*settings.device, &*dict(&settings)), (device, session), "{text}");
    }
}

#[test]
fn what_would_change_answers_is_refused() {
    let input = |field: &str| format!("input {{ name: 'x' {field} }}");
    let warmup = |text: &str| format!("max_batch_size: 4 model_warmup {{ name: 's' {text} }}");
    let zeros = |text: &str| warmup(&format!("batch_size: 1 inputs {{ key: 'x' value {{ {text} }} }}"));
    for (text, told) in [
        ("name: 'other'".to_owned(), "name: found \"other\", allowed is \"digits\""),
        ("platform: 'tensorrt_plan'".into(), "platform: found \"tensorrt_plan\", allowed is \"onnxruntime_onnx\""),
        ("backend: 'python'".into(), "backend: found \"python\", allowed is \"onnxruntime\""),
        ("max_batch_size: -1".into(), "max_batch_size: found -1, allowed is 0 or more"),
        ("max_batch_size: 65537".into(), "max_batch_size: found 65537, allowed is 1 to 65536"),
        ("sequence_batching {}".into(), "sequence_batching: sequences are not served"),
        ("ensemble_scheduling {}".into(), "ensemble_scheduling: ensembles are not served"),
        ("model_transaction_policy { decoupled: true }".into(), "model_transaction_policy.decoupled: decoupled models"),
        ("batch_input { target_name: 'x' }".into(), "batch_input: inputs are not made from batches"),
        ("batch_output { target_name: 'x' }".into(), "batch_output: outputs are not scattered by inputs"),
        ("cc_model_filenames { key: '7.5' value: 'a' }".into(), "cc_model_filenames: one file serves on every device"),
        (
            "model_operations { op_library_filename: 'a.so' }".into(),
            "model_operations.op_library_filename: a model may",
        ),
        (
            "model_repository_agents { agents { name: 'a' } }".into(),
            "model_repository_agents: agents may change a model",
        ),
        ("version_policy { specific {} }".into(), "version_policy.specific.versions: found [], allowed is a list"),
        (
            "version_policy { specific { versions: -1 } }".into(),
            "version_policy.specific.versions: found [-1], allowed",
        ),
        ("default_model_filename: '../x.onnx'".into(), "default_model_filename: found \"../x.onnx\", allowed is the n"),
        ("default_model_filename: '..'".into(), "default_model_filename: found \"..\", allowed is the name of a file"),
        ("default_model_filename: '.x'".into(), "default_model_filename: found \".x\", allowed is the name of a file"),
        (
            "instance_group { kind: KIND_MODEL }".into(),
            "instance_group.kind: KIND_MODEL: a model does not place itself",
        ),
        ("instance_group { kind: 9 }".into(), "instance_group.kind: found 9, which is no kind"),
        ("instance_group { passive: true }".into(), "instance_group.passive: an instance that gets no calls"),
        ("instance_group { count: -1 }".into(), "instance_group.count: found -1, allowed is 0 or more"),
        ("instance_group { count: 257 }".into(), "instance_group.count: found 257, allowed is 1 to 256"),
        ("instance_group { gpus: -1 }".into(), "instance_group.gpus: found -1, allowed is 0 or more"),
        (
            "dynamic_batching { priority_levels: 17 default_priority_level: 1 }".into(),
            "dynamic_batching.priority_level",
        ),
        (
            "dynamic_batching { priority_levels: 2 }".into(),
            "dynamic_batching.default_priority_level: found 0, allowed i",
        ),
        (
            "dynamic_batching { priority_queue_policy { key: 2 value {} } }".into(),
            "dynamic_batching.priority_queue_poli",
        ),
        (
            "dynamic_batching { max_queue_delay_microseconds: 10000001 }".into(),
            "dynamic_batching.max_queue_delay_micros",
        ),
        (
            "dynamic_batching { default_queue_policy { default_timeout_microseconds: 99999999999999999 } }".into(),
            "dynamic_batching.default_queue_policy.default_timeout_microseconds: found 99999999999999999, allowed is a",
        ),
        (
            "dynamic_batching { default_queue_policy { timeout_action: 7 } }".into(),
            "dynamic_batching.default_queue_pol",
        ),
        (
            "parameters { key: 'execution_mode' value { string_value: '2' } }".into(),
            "parameters \"execution_mode\": all",
        ),
        ("parameters { key: 'intra_op_thread_count' value { } }".into(), "parameters \"intra_op_thread_count\": allow"),
        (
            "instance_group { kind: KIND_GPU } optimization { execution_accelerators { gpu_execution_accelerator {
             name: 'tensorrt' parameters { key: 'precision_mode' value: 'INT8' } } } }"
                .into(),
            "optimization.execution_accelerators.gpu_execution_accelerator \"tensorrt\" precision_mode: found \"INT8\"",
        ),
        (input("reshape { shape: [] }"), "input \"x\" reshape: found [] for dims []: dims are missing"),
        (
            input("dims: [ 3, 4 ] reshape { shape: [ 3, 5 ] }"),
            "input \"x\" reshape: found [3, 5] for dims [3, 4]: they differ in -1, or in the elements before",
        ),
        (
            input("dims: [ -1, 2 ] reshape { shape: [ 2, -1 ] }"),
            "input \"x\" reshape: found [2, -1] for dims [-1, 2]: they differ",
        ),
        (input("dims: 1 reshape { shape: -2 }"), "input \"x\" reshape dims: found -2, allowed is -1 or more"),
        (
            input("dims: 1 reshape { shape: [ 9223372036854775807, 2 ] }"),
            "input \"x\" reshape: found [9223372036854775807, 2] for dims [1]: shape [9223372036854775807,2] overflows",
        ),
        (input("is_shape_tensor: true"), "input \"x\" is_shape_tensor: tensors are served"),
        (input("allow_ragged_batch: true"), "input \"x\" allow_ragged_batch: tensors are served"),
        (input("is_non_linear_format_io: true"), "input \"x\" is_non_linear_format_io: tensors are served"),
        (input("data_type: 99"), "input \"x\" data_type: found 99, which is no type"),
        (input("dims: -2"), "input \"x\" dims: found -2, allowed is -1 or more"),
        (
            "output { name: 'y' dims: 2 reshape { shape: 1 } }".into(),
            "output \"y\" reshape: found [1] for dims [2]: they differ in -1",
        ),
        (warmup("batch_size: 5"), "model_warmup \"s\" batch_size: found 5, allowed is 1 to 4"),
        (
            "model_warmup { name: 's' batch_size: 2 }".into(),
            "model_warmup \"s\" batch_size: found 2, allowed is 1 to 1",
        ),
        (warmup("batch_size: 1 count: 1001"), "model_warmup.count: found 1001 runs, allowed is 1000 for all samples"),
        (zeros("dims: 1 zero_data: true"), "model_warmup \"s\" input \"x\" data_type: is missing"),
        (
            zeros("data_type: TYPE_FP32 dims: -1 zero_data: true"),
            "model_warmup \"s\" input \"x\" dims: shape [1,-1] ha",
        ),
        (zeros("data_type: TYPE_FP32 dims: 1"), "model_warmup \"s\" input \"x\": found none of zero_data"),
        (zeros("data_type: TYPE_FP32 dims: 268435457 zero_data: true"), "model_warmup: samples of more than 10737418"),
    ] {
        let refusals = refusals(&text);
        assert!(refusals.iter().any(|one| one.starts_with(&format!("config.pbtxt: {told}"))), "{text}: {refusals:?}");
        assert_eq!(refusals.len(), 1, "{text}: {refusals:?}");
    }
    assert_eq!(refusals("name: 'x' backend: 'python' sequence_batching {}").len(), 3);
}

#[test]
fn what_is_left_out_of_account_is_named() {
    for (text, told) in [
        (
            "dynamic_batching { preferred_batch_size: [ 4 ] }",
            "dynamic_batching.preferred_batch_size is ignored: a batch",
        ),
        ("dynamic_batching { preserve_ordering: true }", "dynamic_batching.preserve_ordering is ignored: each answer"),
        (
            "instance_group { kind: KIND_GPU gpus: [0, 1] }",
            "instance_group.gpus is ignored: a model runs on one device",
        ),
        (
            "instance_group { kind: KIND_GPU }",
            "instance_group.kind on every GPU is ignored: a model runs on one device",
        ),
        ("instance_group [ { kind: KIND_GPU gpus: 0 }, { kind: KIND_CPU } ]", "instance_group on the CPU is ignored: "),
        ("instance_group { rate_limiter {} }", "instance_group.rate_limiter is ignored: runs take shares"),
        ("instance_group { profile: 'a' }", "instance_group.profile is ignored: it is for TensorRT plans"),
        ("instance_group { host_policy: 'a' }", "instance_group.host_policy is ignored: place the process"),
        ("instance_group { secondary_devices {} }", "instance_group.secondary_devices is ignored: a model runs on one"),
        ("optimization { priority: PRIORITY_MAX }", "optimization.priority is ignored: it changes no answer"),
        ("optimization { cuda { graphs: true } }", "optimization.cuda is ignored: it changes no answer"),
        (
            "optimization { input_pinned_memory { enable: true } }",
            "optimization.input_pinned_memory is ignored: it cha",
        ),
        ("optimization { eager_batching: true }", "optimization.eager_batching is ignored: it changes no answer"),
        (
            "optimization { execution_accelerators { cpu_execution_accelerator { name: 'openvino' } } }",
            "optimization.execution_accelerators.cpu_execution_accelerator \"openvino\" is ignored: the model runs on t",
        ),
        (
            "parameters { key: 'mine' value { string_value: 'x' } }",
            "parameters \"mine\" is ignored: ONNX Runtime is no",
        ),
        ("response_cache { enable: true }", "response_cache is ignored: answers are not kept"),
        ("metric_tags { key: 'a' value: 'b' }", "metric_tags is ignored: metrics carry their own labels"),
        ("model_metrics {}", "model_metrics is ignored: metrics have their own buckets"),
        ("runtime: 'x.so'", "runtime is ignored: ONNX Runtime is found by the process"),
        ("model_warmup { name: 's' }", "model_warmup \"s\" is ignored: its batch_size is 0"),
    ] {
        let (_, remarks) = found(text);
        assert_eq!((remarks.problems, remarks.advice.len()), (vec![], 1), "{text}");
        assert!(remarks.advice[0].starts_with(&format!("config.pbtxt: {told}")), "{:?}", remarks.advice);
    }
    for quiet in ["input { name: 'x' format: FORMAT_NCHW }", "response_cache {}", "instance_group { name: 'a' }"] {
        assert_eq!(found(quiet).1.advice, [""; 0], "{quiet}");
    }
}

#[test]
fn a_file_full_of_mistakes_is_told_of_shortly() {
    let long = "x".repeat(100_000);
    let (_, remarks) = found(&format!("parameters {{ key: '{long}' }} name: '{long}'"));
    assert!(remarks.advice[0].len() < 500 && remarks.problems[0].to_string().len() < 500);
    let (_, remarks) = found(&"instance_group { kind: 9 } input { dims: -2 } model_warmup {}".repeat(1000));
    assert_eq!((remarks.problems.len(), remarks.advice.len()), (50, 50));
}

fn spec(name: &'static str, dtype: DType, dims: &[i64]) -> TensorSpec {
    let dim = |size: &i64| if *size < 0 { Dim::Free(Some("batch".into())) } else { Dim::Fixed(*size) };
    TensorSpec { name: name.into(), dtype, dims: dims.iter().map(dim).collect(), optional: false }
}

/// `x` fp32 [batch, 3, batch] and `bias`, which may be left out, to `y` and `z`.
fn signature() -> Signature {
    let bias = TensorSpec { optional: true, ..spec("bias", DType::Fp32, &[1]) };
    let outputs = vec![spec("y", DType::Int64, &[-1]), spec("z", DType::Int64, &[-1, 2])];
    Signature { inputs: vec![spec("x", DType::Fp32, &[-1, 3, -1]), bias], outputs }
}

#[test]
fn declarations_that_fit_the_model_pass_and_outputs_beside_them_are_told() {
    let both = "output [ { name: 'y' data_type: TYPE_INT64 dims: -1 }, { name: 'z' } ]";
    for text in [
        "",
        &format!("input {{ name: 'x' data_type: TYPE_FP32 dims: [ 5, 3, -1 ] }} {both}"),
        &format!("input {{ name: 'x' }} input {{ name: 'bias' optional: true dims: 1 }} {both}"),
        "max_batch_size: 4 input { name: 'x' data_type: TYPE_FP32 dims: [ 3, 7 ] }",
        "max_batch_size: 4 input { name: 'x' dims: [ 1, 3, -1 ] reshape { shape: [ 3, -1 ] } }",
        "input { name: 'x' dims: 21 reshape { shape: [ 1, 3, 7 ] } }",
    ] {
        let declared = found(text).0.declared;
        assert_eq!(declared.check(&signature()), Ok(()), "{text}");
        assert_eq!(declared.beside(&signature()), [""; 0], "{text}");
    }
    let declared = found("output { name: 'y' }").0.declared;
    assert_eq!(declared.check(&signature()), Ok(()));
    assert_eq!(declared.beside(&signature()), ["config.pbtxt: output \"z\" is not declared, and is served as well"]);
}

#[test]
fn declarations_that_contradict_the_model_name_both() {
    for (text, told) in [
        ("input { name: 'a' } input { name: 'x' }", "input \"a\" is declared, and the model has none of that name"),
        ("input { name: 'bias' }", "input \"x\" of the model is not declared"),
        ("output { name: 'a' }", "output \"a\" is declared, and the model has none of that name"),
        ("input { name: 'x' data_type: TYPE_FP16 }", "input \"x\": FP16 is declared, and the model has FP32"),
        ("input { name: 'x' dims: [ 1, 3 ] }", "input \"x\": dims [1, 3] are declared, and the model has [batch,3,b"),
        ("input { name: 'x' dims: [ 1, 4, 1 ] }", "input \"x\": dims [1, 4, 1] are declared, and the model has [bat"),
        ("input { name: 'x' dims: [ 1, -1, 1 ] }", "input \"x\": dims [1, -1, 1] are declared, and the model has ["),
        (
            "max_batch_size: 2 input { name: 'x' dims: [ 1, 3, 4 ] }",
            "input \"x\": dims [1, 3, 4] are declared behind the batch dimension, and the model has [batch,3,batch]",
        ),
        (
            "input { name: 'x' dims: 8 reshape { shape: [ 1, 4, 2 ] } }",
            "input \"x\": reshape [1, 4, 2] is declared, and the model has [batch,3,batch]",
        ),
        (
            "max_batch_size: 2 output { name: 'z' dims: -1 reshape { shape: [ -1, 1 ] } }",
            "output \"z\": reshape [-1, 1] is declared behind the batch dimension, and the model has [batch,2]",
        ),
        (
            "input { name: 'a' dims: 1 reshape { shape: [] } } input { name: 'x' }",
            "input \"a\" is declared, and the model has none of that name",
        ),
        ("input { name: 'x' optional: true }", "input \"x\" is declared optional, and the model needs it"),
        ("output { name: 'y' data_type: TYPE_STRING }", "output \"y\": BYTES is declared, and the model has INT64"),
    ] {
        let error = found(text).0.declared.check(&signature()).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Unloadable);
        assert!(error.message().starts_with(&format!("config.pbtxt: {told}")), "{error}");
    }
    let fixed = Signature { inputs: vec![spec("x", DType::Fp32, &[1, 3])], outputs: vec![] };
    let error = found("max_batch_size: 8").0.declared.check(&fixed).unwrap_err();
    let told = "max_batch_size: found 8, allowed is 0 for a model whose first dimension is not free everywhere, and \
                input \"x\" has [1,3]";
    assert_eq!(error.message(), format!("config.pbtxt: {told}"));
}

#[test]
fn callers_see_dims_and_the_model_its_reshape() {
    for (text, shown, own) in [
        ("input { name: 'x' dims: [ 7, 3 ] reshape { shape: [ 1, 3, 7 ] } }", "[7,3]", &[1, 3, 7][..]),
        ("input { name: 'x' dims: [ -1, 6 ] reshape { shape: [ -1, 3, 2 ] } }", "[batch,6]", &[-1, 3, 2]),
        (
            "max_batch_size: 4 input { name: 'x' dims: [ 1, 3, -1 ] reshape { shape: [ 3, -1 ] } }",
            "[batch,1,3,batch]",
            &[-1, 3, -1],
        ),
    ] {
        let declared = found(text).0.declared;
        let told = declared.reshapes(&signature()).shown(&signature());
        assert_eq!((&*told.inputs[0].to_string(), &told.outputs), (shown, &signature().outputs), "{text}");
        assert_eq!(declared.input_reshape(&"x".into()).as_deref(), Some(own), "{text}");
        assert_eq!(declared.output_reshape(&"y".into()), None);
    }
    let scalar = "max_batch_size: 4 output { name: 'y' dims: 1 reshape { shape: [] } }";
    let declared = found(scalar).0.declared;
    assert_eq!(declared.reshapes(&signature()).shown(&signature()).outputs[0].to_string(), "[batch,1]");
    assert_eq!(declared.output_reshape(&"y".into()), Some(vec![-1]));
}

/// A model's folder with these files.
fn folder(files: &[(&str, &[u8])]) -> Disk {
    let disk = Disk::new(&["digits/1/model.onnx", "digits/warmup/none", "outside.bin"]);
    for (file, bytes) in files {
        fs::write(disk.path(&format!("digits/{file}")), bytes).unwrap();
    }
    disk
}

fn read_from(disk: &Disk) -> Result<Translated, String> {
    let folder = Folder::open(&disk.path("digits")).unwrap();
    read(&folder, &"digits".parse().unwrap()).map_err(|error| error.to_string())
}

fn samples(disk: &Disk) -> Result<Vec<Vec<Tensor>>, String> {
    let declared = read_from(disk).unwrap().declared;
    declared.samples(&disk.path("digits"), &signature()).map_err(|error| error.to_string())
}

const WARMUP: &str = "max_batch_size: 4 model_warmup [
    { name: 'file' batch_size: 2 inputs { key: 'x' value { data_type: TYPE_FP32 dims: [3, 1] input_data_file: 'row' } } },
    { name: 'random' batch_size: 1 count: 2
      inputs { key: 'x' value { data_type: TYPE_FP32 dims: [3, 2] random_data: true } } } ]";

#[test]
fn warm_up_samples_become_calls() {
    let row: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    // A row takes three floats; the fourth is left alone.
    let calls = samples(&folder(&[("config.pbtxt", WARMUP.as_bytes()), ("warmup/row", &row)])).unwrap();
    let shapes: Vec<&[i64]> = calls.iter().map(|call| &call[0].shape()[..]).collect();
    assert_eq!(shapes, [&[2, 3, 1][..], &[1, 3, 2], &[1, 3, 2]]);
    assert_eq!(calls[0][0].data().parts()[0][..], [&row[..12], &row[..12]].concat());
    let random = calls[1][0].data().parts()[0].clone();
    let (floats, _) = random.as_chunks::<4>();
    assert!(floats.iter().all(|bytes| (0.0..1.0).contains(&f32::from_le_bytes(*bytes))));
    assert_eq!(calls[1], calls[2]);
}

#[test]
fn samples_are_in_the_shapes_of_callers() {
    let text = "max_batch_size: 4 input { name: 'x' dims: [ 6 ] reshape { shape: [ 3, 2 ] } }
                model_warmup { name: 's' batch_size: 2
                  inputs { key: 'x' value { data_type: TYPE_FP32 dims: [6] zero_data: true } } }";
    let calls = samples(&folder(&[("config.pbtxt", text.as_bytes())])).unwrap();
    assert_eq!(calls[0][0].shape()[..], [2, 3, 2]);
    let text = text.replace("dims: [6] zero", "dims: [3, 2] zero");
    let error = samples(&folder(&[("config.pbtxt", text.as_bytes())])).unwrap_err();
    let told = "sample \"s\": input \"x\": expected rank 2 [batch,6], got rank 3 [2,3,2]";
    assert_eq!(error, format!("config.pbtxt: model_warmup: {told}"));
}

#[test]
fn random_data_fits_every_type() {
    for dtype in DType::ALL {
        let spec = TensorSpec { dtype, ..spec("x", dtype, &[-1]) };
        let name = if dtype == DType::Bytes { "STRING" } else { dtype.name() };
        let text = format!(
            "model_warmup {{ batch_size: 1 inputs {{ key: 'x' value {{ data_type: TYPE_{name} dims: 5 random_data: true }} }} }}"
        );
        let signature = Signature { inputs: vec![spec], outputs: vec![] };
        let calls = found(&text).0.declared.samples(Path::new("/"), &signature).unwrap();
        assert_eq!((calls[0][0].dtype(), &calls[0][0].shape()[..]), (dtype, &[5][..]));
    }
}

#[test]
fn warm_up_data_is_looked_at_when_the_configuration_is_read() {
    let told = |disk: &Disk| read_from(disk).unwrap_err();
    let field = "config.pbtxt: model_warmup \"file\" input \"x\" input_data_file: ";
    let disk = folder(&[("config.pbtxt", WARMUP.as_bytes())]);
    assert!(told(&disk).starts_with(&format!("{field}file \"row\": No such file")), "{}", told(&disk));
    disk.write("digits/warmup/row", "short");
    assert_eq!(told(&disk), format!("{field}file \"row\": has 5 bytes, a row takes 12"));
    for (file, why) in [("../../outside.bin", "leads outside"), ("/etc/hostname", "leads outside")] {
        disk.write("digits/config.pbtxt", &WARMUP.replace("'row'", &format!("'{file}'")));
        assert_eq!(told(&disk), format!("{field}file {file:?}: {why}"));
    }
    disk.link("../../outside.bin", "digits/warmup/link");
    disk.write("digits/config.pbtxt", &WARMUP.replace("'row'", "'link'"));
    assert_eq!(told(&disk), format!("{field}file \"link\": leads outside"));
    disk.remove("digits/warmup");
    assert!(told(&disk).starts_with("config.pbtxt: model_warmup: folder \"warmup\": "), "{}", told(&disk));
}

#[test]
fn a_sample_that_does_not_fit_the_model_keeps_it_from_loading() {
    let text = "model_warmup { name: 's' batch_size: 1 inputs { key: 'x' value {
                data_type: TYPE_FP32 dims: [1, 4, 1] zero_data: true } } }";
    let error = samples(&folder(&[("config.pbtxt", text.as_bytes())])).unwrap_err();
    let told = "sample \"s\": input \"x\": expected shape [batch,3,batch], got [1,4,1]";
    assert_eq!(error, format!("config.pbtxt: model_warmup: {told}"));
}

#[test]
fn declared_shapes_are_those_of_the_made_up_call() {
    let text = "max_batch_size: 8 input { name: 'x' dims: [ 3, 7 ] }";
    let calls = samples(&folder(&[("config.pbtxt", text.as_bytes())])).unwrap();
    assert_eq!((calls.len(), calls[0].len(), &calls[0][0].shape()[..]), (1, 1, &[1, 3, 7][..]));
    assert_eq!(samples(&folder(&[("config.pbtxt", b"")])), Ok(vec![]));
    let text = "max_batch_size: 8 input { name: 'x' dims: [ 9, 1, 2 ] reshape { shape: [ 3, 6 ] } }";
    assert_eq!(samples(&folder(&[("config.pbtxt", text.as_bytes())])).unwrap()[0][0].shape()[..], [1, 3, 6]);
    // More than may be in memory: the signature alone decides.
    let text = "input { name: 'x' dims: [ 100000, 3, 100000 ] }";
    assert_eq!(samples(&folder(&[("config.pbtxt", text.as_bytes())])), Ok(vec![]));
    let shape = Shape::new(&[1, 3, 7]).unwrap();
    assert_eq!(calls[0][0].data().len(), 4 * shape.elements());
}

#[test]
fn keys_of_our_own_file_outweigh_those_of_tritons_one_by_one() {
    let text = "max_batch_size: 8 instance_group { count: 3 kind: KIND_CPU } version_policy { all {} }
                dynamic_batching { max_queue_delay_microseconds: 150
                                   default_queue_policy { max_queue_size: 5 default_timeout_microseconds: 900 } }
                parameters { key: 'intra_op_thread_count' value { string_value: '2' } }
                output [ { name: 'y' label_filename: 'a.txt' }, { name: 'z' label_filename: 'a.txt' } ]";
    let disk = folder(&[("config.pbtxt", text.as_bytes()), ("a.txt", b"a"), ("b.txt", b"b")]);
    disk.write(
        "digits/model.toml",
        "instances = 1\nversions = [1]\nlabels = { z = \"b.txt\" }\n[batch]\nqueue = { calls = 9 }\n\
         [session]\nparallel_execution = true",
    );
    let folder = Folder::open(&disk.path("digits")).unwrap();
    let settings = Settings::read(&folder, read_from(&disk).unwrap().settings).unwrap();
    assert_eq!((settings.instances, settings.batch.max_batch), (Some(1), Some(8)));
    assert_eq!(serde_json::to_string(&settings.versions).unwrap(), "[1]");
    assert_eq!((settings.labels["y"].names(), settings.labels["z"].names()), (&["a".into()][..], &["b".into()][..]));
    assert_eq!((settings.batch.queue.calls, settings.batch.queue.timeout), (Some(9), Period::micros(900)));
    assert_eq!(Some(settings.batch.max_delay), Period::micros(150));
    assert_eq!(dict(&settings), r#"{"intra_op_threads":2,"parallel_execution":true}"#);
}

#[test]
fn labels_are_read_beneath_the_folder_only() {
    for (file, why) in [("../outside.bin", "leads outside"), ("none.txt", "No such file or directory (os error 2)")] {
        let text = format!("output {{ name: 'y' label_filename: '{file}' }}");
        let disk = folder(&[("config.pbtxt", text.as_bytes())]);
        let folder = Folder::open(&disk.path("digits")).unwrap();
        let refused = Settings::read(&folder, read_from(&disk).unwrap().settings).unwrap_err().to_string();
        assert_eq!(refused, format!("config.pbtxt: labels.y: file {file:?}: {why}"));
    }
}

#[test]
fn a_file_that_is_too_large_no_text_or_elsewhere_is_refused() {
    let disk = folder(&[]);
    let file = fs::File::create(disk.path("digits/config.pbtxt")).unwrap();
    file.set_len(100 << 20).unwrap();
    assert_eq!(read_from(&disk).unwrap_err(), "config.pbtxt: cannot read: is larger than 1048576 bytes");
    disk.write("digits/config.pbtxt", "");
    assert!(read_from(&disk).is_ok());
    fs::write(disk.path("digits/config.pbtxt"), [0xff]).unwrap();
    assert!(read_from(&disk).unwrap_err().starts_with("config.pbtxt: cannot read: "));
    fs::remove_file(disk.path("digits/config.pbtxt")).unwrap();
    disk.link("../outside.bin", "digits/config.pbtxt");
    assert_eq!(read_from(&disk).unwrap_err(), "config.pbtxt: cannot read: leads outside");
}

const SAMPLE: &str = include_str!("../../../tests/fixtures/triton/matmul/config.pbtxt");

proptest! {
    #[test]
    fn numbers_of_any_size_are_read_or_refused(numbers in prop::collection::vec(any::<i64>(), 30)) {
        let mut numbers = numbers.into_iter();
        let digit = |c: char| c.is_ascii_digit();
        let text: String = SAMPLE
            .split_inclusive('\n')
            .map(|line| match (line.find(digit), line.rfind(digit), numbers.next()) {
                (Some(from), Some(to), Some(number)) => format!("{}{number}{}", &line[..from], &line[to + 1..]),
                _ => line.to_owned(),
            })
            .collect();
        if let Ok(config) = text::parse(&text) {
            let (translated, _) = translate(&config, &"digits".parse().unwrap());
            let _ = translated.declared.check(&signature());
            translated.declared.reshapes(&signature()).shown(&signature());
        }
    }

    #[test]
    fn any_bytes_of_a_message_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(config) = <proto::ModelConfig as prost::Message>::decode(&bytes[..]) {
            translate(&config, &"digits".parse().unwrap());
        }
    }
}
