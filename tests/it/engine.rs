//! The engine over ONNX Runtime, model by model.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use infergate::compute::session::{self, Device, Runtime, SessionOptions, SessionPlan};
use infergate::compute::{Engine, Loaded};
use infergate::error::{Error, Kind};
use infergate::infer::Interest;
use infergate::tensor::{DType, Dim, Shape, Tensor, TensorSpec, aligned, strings};

/// A model among the fixtures.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).join("1/model.onnx")
}

fn served(name: &str) -> PathBuf {
    fixture(&format!("models/{name}"))
}

fn plan(path: PathBuf) -> SessionPlan {
    let options = SessionOptions::default();
    SessionPlan { path, device: Device::Cpu, fallback: false, instances: 1, intra_op_threads: 1, spin: false, options }
}

fn load(plan: &SessionPlan) -> Result<Loaded, Error> {
    session::load(&Runtime::load().unwrap(), plan)
}

fn loaded(name: &str) -> Loaded {
    load(&plan(served(name))).unwrap()
}

fn engine(name: &str) -> Box<dyn Engine> {
    loaded(name).engines.remove(0)
}

/// Why the model is refused.
fn refusal(path: PathBuf) -> String {
    let error = load(&plan(path)).err().expect("the model was loaded");
    assert_eq!(error.kind(), Kind::Unloadable);
    error.to_string()
}

fn tensor(name: &'static str, dtype: DType, dims: &[i64], data: Vec<u8>) -> Tensor {
    let (shape, mut laid_out) = (Shape::new(dims).unwrap(), aligned::buffer(data.len(), 0));
    laid_out.extend_from_slice(&data);
    Tensor::new(ByteString::from_static(name), dtype, shape, laid_out.freeze().into()).unwrap()
}

fn floats(name: &'static str, dims: &[i64], values: &[f32]) -> Tensor {
    tensor(name, DType::Fp32, dims, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let (values, rest) = tensor.data().parts().first().map_or(&[][..], |part| part).as_chunks();
    assert!(rest.is_empty());
    values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn run(engine: &mut dyn Engine, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
    engine.run(inputs, &[], &Interest::of(1))
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn a_second_load_of_the_library_is_the_first() {
    let (first, second) = (Runtime::load().unwrap(), Runtime::load().unwrap());
    assert_eq!(first.version(), second.version());
    assert!(first.version().starts_with("1."), "{first:?}");
    drop((first, second));
    assert!(Runtime::load().unwrap().path().is_absolute());
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn values_of_every_type_come_back_bit_by_bit() {
    for dtype in DType::ALL {
        let Some(size) = dtype.size() else { continue };
        let name = format!("identity_{}", dtype.name().to_lowercase());
        let bytes = (0..5 * size).map(|index| if dtype == DType::Bool { index as u8 % 2 } else { 0x91 ^ index as u8 });
        let input = tensor("x", dtype, &[5], bytes.collect());
        let output = run(&mut *engine(&name), std::slice::from_ref(&input)).unwrap().remove(0);
        assert_eq!((output.name().as_ref(), output.dtype(), output.shape()), ("y", dtype, input.shape()), "{name}");
        assert_eq!(output.data(), input.data(), "{name}");
    }
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn strings_of_any_bytes_come_back_whole() {
    let mut raw = Vec::new();
    let long = [0xe9; 5000];
    for element in [&b""[..], b"a\0b", &[0xff, 0, 0xfe], "é".as_bytes(), &long, b"\0"] {
        strings::push(&mut raw, element).unwrap();
    }
    let mut engine = engine("identity_string");
    let input = tensor("x", DType::Bytes, &[6], raw);
    assert_eq!(run(&mut *engine, std::slice::from_ref(&input)).unwrap()[0].data(), input.data());
    let empty = tensor("x", DType::Bytes, &[0], vec![]);
    assert_eq!(run(&mut *engine, &[empty]).unwrap()[0].shape()[..], [0]);
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn scalars_and_empty_tensors_go_in_and_out() {
    let output = run(&mut *engine("scalar"), &[floats("x", &[], &[21.0])]).unwrap().remove(0);
    assert_eq!((output.shape().len(), values(&output)), (0, vec![42.0]));
    let output = run(&mut *engine("empty"), &[floats("x", &[0, 3], &[])]).unwrap().remove(0);
    assert_eq!((&output.shape()[..], output.data().len()), (&[0, 3][..], 0));
    let output = run(&mut *engine("identity_fp32"), &[floats("x", &[0], &[])]).unwrap().remove(0);
    assert_eq!(output.shape()[..], [0]);
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn the_signature_has_symbols_scalars_zero_dimensions_and_defaults() {
    let free = |symbol: &'static str| Dim::Free(Some(ByteString::from_static(symbol)));
    let add = loaded("add").signature;
    assert_eq!(add.inputs[0].dims, [free("batch"), Dim::Fixed(4)]);
    assert_eq!(add.outputs.iter().map(|spec| &*spec.name).collect::<Vec<_>>(), ["sum", "difference"]);
    assert_eq!(loaded("scalar").signature.inputs[0].dims, []);
    assert_eq!(loaded("empty").signature.inputs[0].dims, [Dim::Fixed(0), Dim::Fixed(3)]);
    let spec = |name: &'static str, dims, optional| TensorSpec {
        name: ByteString::from_static(name),
        dtype: DType::Fp32,
        dims,
        optional,
    };
    let expected = [spec("x", vec![free("n")], false), spec("bias", vec![Dim::Fixed(1)], true)];
    assert_eq!(loaded("optional_input").signature.inputs, expected);
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn an_input_with_a_default_may_be_left_out() {
    let mut engine = engine("optional_input");
    let x = floats("x", &[2], &[1.0, 2.0]);
    assert_eq!(values(&run(&mut *engine, std::slice::from_ref(&x)).unwrap()[0]), [2.0, 3.0]);
    let with_bias = [floats("bias", &[1], &[10.0]), x.clone()];
    assert_eq!(values(&run(&mut *engine, &with_bias).unwrap()[0]), [11.0, 12.0]);
    assert_eq!(values(&run(&mut *engine, &[x]).unwrap()[0]), [2.0, 3.0]);
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn the_wanted_outputs_come_in_the_order_wanted() {
    let mut engine = engine("add");
    // In another order than the model's, which is allowed as well.
    let inputs = [floats("b", &[1, 4], &[1.0; 4]), floats("a", &[1, 4], &[3.0; 4])];
    let mut wanted = |names: &[&'static str]| {
        let names: Vec<ByteString> = names.iter().map(|name| ByteString::from_static(name)).collect();
        let outputs = engine.run(&inputs, &names, &Interest::of(1)).unwrap();
        outputs.iter().map(|output| (output.name().to_string(), values(output)[0])).collect::<Vec<_>>()
    };
    let (sum, difference) = (("sum".to_owned(), 4.0), ("difference".to_owned(), 2.0));
    assert_eq!(wanted(&[]), [sum.clone(), difference.clone()]);
    assert_eq!(wanted(&["difference", "sum"]), [difference.clone(), sum]);
    assert_eq!(wanted(&["difference"]), [difference]);
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn outputs_outlive_their_engine_and_later_runs() {
    let mut engine = engine("add");
    let inputs = |value| [floats("a", &[1, 4], &[value; 4]), floats("b", &[1, 4], &[0.0; 4])];
    let first = run(&mut *engine, &inputs(1.0)).unwrap();
    let second = run(&mut *engine, &inputs(2.0)).unwrap();
    drop(engine);
    let read = thread::spawn(move || (values(&first[0]), values(&second[0])));
    assert_eq!(read.join().unwrap(), (vec![1.0; 4], vec![2.0; 4]));
}

/// A model without a single node, whose one output is its input `x` fp32 [n], byte by byte.
fn passing_on() -> Vec<u8> {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
    let shape = field(2, &field(1, &field(2, b"n")));
    let kind = field(2, &field(1, &[&[1 << 3, 1][..], &shape].concat()));
    let value = [field(1, b"x"), kind].concat();
    let graph = [field(2, b"passing on"), field(11, &value), field(12, &value)].concat();
    [&[1 << 3, 8][..], &field(7, &graph), &field(8, &[2 << 3, 17])].concat()
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn an_output_that_is_an_input_keeps_the_inputs_bytes_alive() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.onnx");
    fs::write(&model, passing_on()).unwrap();
    let mut engine = load(&plan(model)).unwrap().engines.remove(0);
    let input = floats("x", &[3], &[1.0, 2.0, 3.0]);
    let lies = |tensor: &Tensor| tensor.data().parts()[0].as_ptr().addr();
    let (before, output) = (lies(&input), run(&mut *engine, std::slice::from_ref(&input)).unwrap().remove(0));
    drop((input, engine));
    assert_eq!(lies(&output), before);
    assert_eq!(values(&output), [1.0, 2.0, 3.0]);
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn an_arena_tells_what_it_holds_and_each_instance_has_its_own() {
    let loaded = load(&SessionPlan { instances: 2, ..plan(served("matmul")) }).unwrap();
    let told: Vec<_> = loaded.arenas.iter().map(|arena| (arena.device().to_owned(), arena.bytes())).collect();
    let (devices, bytes): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    assert_eq!(devices, ["cpu", "cpu"]);
    for bytes in bytes {
        let bytes = bytes.expect("ONNX Runtime of 1.23 or newer tells");
        assert!(0 < bytes.held && bytes.used <= bytes.held, "{bytes:?}");
    }
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn each_instance_is_an_engine_and_all_run_at_once() {
    let mut loaded = load(&SessionPlan { instances: 3, intra_op_threads: 2, ..plan(served("matmul")) }).unwrap();
    assert_eq!((loaded.engines.len(), &*loaded.device), (3, "cpu"));
    let x: Vec<f32> = (0..16).map(|value| value as f32).collect();
    let expected = values(&run(&mut *loaded.engines[0], &[floats("x", &[1, 16], &x)]).unwrap()[0]);
    thread::scope(|scope| {
        for engine in &mut loaded.engines {
            let (x, expected) = (&x, &expected);
            scope.spawn(move || {
                for _ in 0..200 {
                    assert_eq!(values(&run(&mut **engine, &[floats("x", &[1, 16], x)]).unwrap()[0]), *expected);
                }
            });
        }
    });
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn a_run_that_nobody_waits_for_is_stopped_and_the_next_one_runs() {
    let mut engine = engine("slow");
    let turns = |count: i64| [tensor("iterations", DType::Int64, &[], count.to_le_bytes().to_vec())];
    let interest = Interest::of(1);
    let began = Instant::now();
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            // The run cannot tell that it has begun. Where it has not after this, it is stopped before it begins.
            thread::park_timeout(Duration::from_millis(50));
            interest.leave();
        });
        engine.run(&turns(i64::MAX), &[], &interest).unwrap_err()
    });
    assert_eq!(error.kind(), Kind::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(10), "stopped after {:?}", began.elapsed());
    assert_eq!(engine.run(&turns(i64::MAX), &[], &interest).unwrap_err().kind(), Kind::Cancelled);
    assert_eq!(run(&mut *engine, &turns(3)).unwrap()[0].shape().len(), 0);
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn what_a_call_got_wrong_is_told_in_one_line() {
    let error = run(&mut *engine("identity_bool"), &[tensor("x", DType::Bool, &[2], vec![1, 2])]).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Invalid, "input \"x\": BOOL element 1 is 2, expected 0 or 1"));
    // The engine is asked although the input does not fit the signature, which its callers prevent.
    let mut engine = engine("add");
    let error = run(&mut *engine, &[floats("a", &[1, 5], &[0.0; 5]), floats("b", &[1, 4], &[0.0; 4])]).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(!error.message().contains('\n') && error.message().chars().count() <= 301, "{error}");
    let error = run(&mut *engine, &[floats("c", &[1], &[0.0])]).unwrap_err();
    assert_eq!(error.message(), "\"c\" came to an engine that does not know it");
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn types_that_the_protocols_lack_are_refused_with_the_cure() {
    assert_eq!(
        refusal(served("zipmap")),
        "output \"y\" is a sequence of maps, which the protocols cannot carry: export with zipmap=False \
         (skl2onnx: options={id(model): {\"zipmap\": False}})"
    );
    assert_eq!(
        refusal(served("sequence_output")),
        "output \"y\" is a sequence, which the protocols cannot carry: stack it into one tensor in the model \
         (ConcatFromSequence)"
    );
    assert_eq!(
        refusal(served("int4")),
        "input \"x\" has elements of type INT4, which the protocols cannot carry: cast to INT8 in the model"
    );
    assert_eq!(
        refusal(served("float8")),
        "input \"x\" has elements of type FLOAT8E4M3FN, which the protocols cannot carry: cast to FP16 in the model"
    );
    // ONNX Runtime knows no complex numbers either.
    assert!(refusal(served("complex")).starts_with("model.onnx cannot be loaded: "));
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn external_data_beside_the_model_is_read() {
    let x: Vec<f32> = (0..16).map(|value| value as f32).collect();
    let outputs = ["external", "matmul"].map(|name| {
        let output = run(&mut *engine(name), &[floats("x", &[1, 16], &x)]).unwrap().remove(0);
        values(&output)
    });
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0].len(), 4);
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn external_data_elsewhere_is_refused() {
    assert_eq!(
        refusal(fixture("hostile/external_parent")),
        "model.onnx keeps tensor data in \"../secret.bin\", which leads out of the model's folder"
    );
    assert_eq!(
        refusal(fixture("hostile/external_absolute")),
        "model.onnx keeps tensor data in \"/etc/hostname\", which is not relative to the model's folder"
    );
    let folder = tempfile::tempdir().unwrap();
    let (secret, weights) = (folder.path().join("secret.bin"), folder.path().join("model/weights.bin"));
    let model = weights.with_file_name("model.onnx");
    fs::write(&secret, [7; 16]).unwrap();
    fs::create_dir(folder.path().join("model")).unwrap();
    fs::copy(fixture("hostile/external_symlink"), &model).unwrap();
    symlink(&secret, &weights).unwrap();
    let refused = |why| format!("model.onnx keeps tensor data in \"weights.bin\", which {why}");
    assert_eq!(refusal(model.clone()), refused("is a symbolic link or lies behind one"));
    fs::remove_file(&weights).unwrap();
    fs::copy(fixture("hostile/external_hardlink"), &model).unwrap();
    fs::hard_link(&secret, &weights).unwrap();
    assert_eq!(refusal(model), refused("has another name elsewhere (a hard link)"));
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn what_is_no_model_is_refused_without_its_folder() {
    let garbage = refusal(fixture("hostile/garbage"));
    assert!(garbage.starts_with("model.onnx is not an ONNX model: "), "{garbage}");
    let truncated = refusal(fixture("hostile/truncated"));
    assert!(truncated.starts_with("model.onnx is not an ONNX model: "), "{truncated}");
    assert_eq!(refusal(fixture("none")), "model.onnx does not exist");
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("model.onnx");
    fs::write(&empty, "").unwrap();
    let empty = refusal(empty);
    assert!(empty.starts_with("model.onnx cannot be loaded: ") && !empty.contains("/model.onnx"), "{empty}");
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn settings_reach_the_session_and_wrong_ones_are_told() {
    let with = |options: SessionOptions| load(&SessionPlan { options, ..plan(served("add")) });
    let all = SessionOptions {
        optimization_level: session::OptimizationLevel::Disable,
        intra_op_threads: Some(2),
        inter_op_threads: Some(2),
        parallel_execution: true,
        memory_pattern: false,
        cpu_arena: false,
        config: [("session.disable_prepacking".to_owned(), "1".to_owned())].into(),
        ..SessionOptions::default()
    };
    let inputs = [floats("a", &[1, 4], &[1.0; 4]), floats("b", &[1, 4], &[2.0; 4])];
    assert_eq!(values(&run(&mut *with(all).unwrap().engines[0], &inputs).unwrap()[0]), [3.0; 4]);
    let long = SessionOptions { config: [("k".repeat(2000), "1".to_owned())].into(), ..SessionOptions::default() };
    let error = with(long).err().expect("an overlong key was taken");
    assert!(error.message().starts_with("model.onnx cannot be loaded: "), "{error}");
    let nul = SessionOptions { config: [("a\0b".to_owned(), "1".to_owned())].into(), ..SessionOptions::default() };
    assert_eq!(with(nul).err().expect("a NUL was taken").kind(), Kind::Unloadable);
}

#[test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
fn a_device_that_cannot_be_had_is_refused_or_replaced_as_planned() {
    for device in [Device::Cuda(4000), Device::TensorRt(4000)] {
        let without = SessionPlan { device, ..plan(served("add")) };
        let error = load(&without).err().expect("there is such a device");
        assert!(error.message().starts_with(&format!("model.onnx cannot run on {device}: ")), "{error}");
        let loaded = load(&SessionPlan { fallback: true, ..without }).unwrap();
        assert_eq!(&*loaded.device, "cpu");
    }
}
