//! `infergate gateway`: finds backends and spreads calls over them, until it is told to stop.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::serve::{PortArgs, reachable, started, until_stopped};
use super::{SourceArgs, asynchronous};
use crate::compute::plan;
use crate::role::Gateway;

/// Flags of `infergate gateway`.
#[derive(Debug, Args)]
pub(super) struct GatewayArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    ports: PortArgs,
    /// A backend; may be given again
    #[arg(long = "backend", value_name = "HOST:PORT")]
    backends: Vec<String>,
    /// A name whose addresses are backends, such as a headless Service's; without a port its SRV records are; may be given again
    #[arg(long, value_name = "NAME:PORT")]
    dns: Vec<String>,
    /// A Service whose EndpointSlices are followed, its port by number or name; may be given again
    #[arg(long, value_name = "NAMESPACE/SERVICE[:PORT]")]
    kubernetes: Vec<String>,
    /// Where the cluster is and who we are [default: what KUBECONFIG names, ~/.kube/config, the pod's account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The gateway's own zone: backends in it go first as long as they are not slower
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

impl GatewayArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let list = |values: &[String]| (!values.is_empty()).then(|| values.join(","));
        let overrides = reachable(self.ports.overrides())
            .role_default("load_report", true)
            .flag("--backend", "discovery.backends", list(&self.backends))
            .flag("--dns", "discovery.dns", list(&self.dns))
            .flag("--kubernetes", "discovery.kubernetes", list(&self.kubernetes))
            .flag("--kubeconfig", "discovery.kubeconfig", self.kubeconfig.as_ref().map(|path| path.display()))
            // A pod whose node has no zone has an empty label.
            .flag("--zone", "discovery.zone", self.zone.as_ref().filter(|zone| !zone.is_empty()));
        let (process, _lines) = started(self.source.load(overrides)?);
        let config = &process.settings.config;
        let cpus = config.compute.cpus.unwrap_or_else(plan::cpus);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), cpus, "starting");
        let threads = asynchronous(cpus)?;
        let served = threads.block_on(until_stopped(async {
            let gateway = Gateway::start_in(&process).await?;
            Ok((gateway.addresses(), gateway.drain()))
        }));
        threads.shutdown_background();
        served
    }
}
