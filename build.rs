//! Compiles `proto/` without protoc. Left out of the generated servers are the three RPCs that carry tensors, whose
//! messages are walked by hand (`src/wire`), and those that are not served (`src/accept/unserved.rs`).

use std::error::Error;
use std::path::PathBuf;

use prost::Message;
use prost_types::FileDescriptorSet;

const FILES: [&str; 3] = ["inference.proto", "health.proto", "tensorflow_serving.proto"];
const MODEL_CONFIG: &str = "model_config.proto";
const BY_HAND: [&str; 3] = ["ModelInfer", "ModelStreamInfer", "Predict"];
const UNSERVED: [&str; 10] = [
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "Classify",
    "Regress",
    "MultiInference",
    "HandleReloadConfigRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    std::fs::write(out.join("model_config.bin"), alone(&descriptors, MODEL_CONFIG).encode_to_vec())?;

    let messages = tonic_prost_build::configure().bytes(".").build_server(false);
    messages.compile_fds(descriptors.clone())?;

    // A second pass for the servers alone, over the messages of the first.
    let servers = out.join("servers");
    std::fs::create_dir_all(&servers)?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".inference", "crate::wire::proto::inference")
        .extern_path(".tensorflow", "crate::wire::proto::tensorflow")
        .extern_path(".grpc.health.v1", "crate::wire::proto::health")
        .out_dir(servers)
        .compile_fds(with_generated_rpcs_only(descriptors))?;
    Ok(())
}

/// One file that imports no other.
fn alone(descriptors: &FileDescriptorSet, name: &str) -> FileDescriptorSet {
    FileDescriptorSet { file: descriptors.file.iter().filter(|file| file.name() == name).cloned().collect() }
}

fn with_generated_rpcs_only(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for service in descriptors.file.iter_mut().flat_map(|file| &mut file.service) {
        service.method.retain(|method| !BY_HAND.contains(&method.name()) && !UNSERVED.contains(&method.name()));
    }
    descriptors
}
