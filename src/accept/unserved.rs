//! RPCs of the protocols that are not served, each with a sentence: better than the bare code that a caller would get
//! for a method that nobody knows.

/// Methods by service, and what to say.
const UNSERVED: [(&str, &[&str], &str); 3] = [
    (
        "inference.GRPCInferenceService",
        &[
            "SystemSharedMemoryStatus",
            "SystemSharedMemoryRegister",
            "SystemSharedMemoryUnregister",
            "CudaSharedMemoryStatus",
            "CudaSharedMemoryRegister",
            "CudaSharedMemoryUnregister",
        ],
        "shared memory is not served: send tensors in the message",
    ),
    (
        "tensorflow.serving.PredictionService",
        &["Classify", "Regress", "MultiInference"],
        "calls with tensorflow.Example are not served: use Predict",
    ),
    (
        "tensorflow.serving.ModelService",
        &["HandleReloadConfigRequest"],
        "reloading a configuration is not served: use RepositoryModelLoad of inference.GRPCInferenceService",
    ),
];

/// What to say of a method that is known and not served.
pub(super) fn sentence(service: &str, method: &str) -> Option<&'static str> {
    let said = UNSERVED.iter().find(|(known, methods, _)| *known == service && methods.contains(&method));
    said.map(|(_, _, sentence)| *sentence)
}
