//! A gateway that finds the account of its pod, as a process of its own in a mount namespace of its own: files of this
//! machine are never touched. Where there can be no such namespace the tests say so and are over.

#![expect(clippy::print_stdout, reason = "a test that is left out says why")]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;

use crate::cluster::api_server::ApiServer;
use crate::cluster::slice::Slice;
use crate::harness::{Oip, Part, Standing, echo, eventually, get, within};

/// Puts the account in `$ACCOUNT` where a pod has it, seen by this process alone, which then becomes the gateway.
const INTO_THE_POD: &str = r#"
set -e
place=/var/run/secrets/kubernetes.io/serviceaccount
mount -t tmpfs tmpfs /var/run
mkdir -p "$place"
mount --bind "$ACCOUNT" "$place"
exec "$GATEWAY" gateway --kubernetes ml/workers:grpc --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
    --set log.level=error
"#;

/// How often a minute's test looks and calls.
const GLANCE: Duration = Duration::from_millis(100);

/// A gateway in a pod. Dropped it is gone.
struct Pod {
    _gateway: Child,
    account: TempDir,
    grpc: SocketAddr,
    admin: SocketAddr,
}

impl Pod {
    /// With an account of that server; nothing where this machine does not let it be.
    async fn with_account(server: &ApiServer, token: &str) -> Option<Pod> {
        let unshare = namespaces().await?;
        let account = tempfile::tempdir().unwrap();
        fs::write(account.path().join("namespace"), "ml").unwrap();
        fs::write(account.path().join("ca.crt"), server.certificate()).unwrap();
        write_token(account.path(), token);
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", INTO_THE_POD]).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("ACCOUNT", account.path()).env("GATEWAY", env!("CARGO_BIN_EXE_infergate"));
        command.env("HOME", account.path());
        let address = server.address();
        command.env("KUBERNETES_SERVICE_HOST", address.ip().to_string());
        command.env("KUBERNETES_SERVICE_PORT", address.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut gateway = command.spawn().unwrap();
        let mut said = BufReader::new(gateway.stdout.take().unwrap()).lines();
        let line = within(said.next_line()).await.unwrap().expect("it says where it listens");
        let of = |name: &str| {
            let address = line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            address.unwrap_or_else(|| panic!("no {name} in {line:?}")).parse().unwrap()
        };
        Some(Pod { grpc: of("grpc"), admin: of("admin"), _gateway: gateway, account })
    }

    async fn oip(&self) -> Oip {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap();
        Oip::new(within(endpoint.connect()).await.unwrap())
    }

    /// The addresses of its backends.
    async fn endpoints(&self) -> Vec<String> {
        let (_, page) = get(self.admin, "/endpoints").await;
        let page: Value = serde_json::from_str(&page).unwrap();
        let addresses = page["endpoints"].as_array().unwrap().iter().map(|endpoint| endpoint["address"].as_str());
        addresses.map(|address| address.unwrap().to_owned()).collect()
    }

    /// Another token comes, as the kubelet has it come.
    fn exchange_token(&self, token: &str) {
        write_token(self.account.path(), token);
    }
}

/// `token` is a link into a folder that is itself a link, which is exchanged at once.
fn write_token(account: &Path, token: &str) {
    let folder = format!("..{token}");
    fs::create_dir(account.join(&folder)).unwrap();
    fs::write(account.join(&folder).join("token"), token).unwrap();
    symlink(&folder, account.join("..data_tmp")).unwrap();
    fs::rename(account.join("..data_tmp"), account.join("..data")).unwrap();
    if !account.join("token").exists() {
        symlink("..data/token", account.join("token")).unwrap();
    }
}

/// How to come into a mount namespace of one's own.
async fn namespaces() -> Option<&'static [&'static str]> {
    for flags in [&["-m"][..], &["-r", "-m"]] {
        let mut command = Command::new("unshare");
        command.args(flags).args(["mount", "-t", "tmpfs", "tmpfs", "/var/run"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().await.is_ok_and(|status| status.success()) {
            return Some(flags);
        }
    }
    println!("left out: there are no mount namespaces for this process");
    None
}

/// An API server with a Service of one backend, which answers.
async fn cluster(token: &str) -> (ApiServer, Standing) {
    let (server, backend) = (ApiServer::with_tls().await, Standing::of(&Part::echo()).await);
    server.expect(token);
    server.put(Slice::new("a").on(backend.address().port()).ready(&["127.0.0.1"]));
    (server, backend)
}

async fn is_answered(client: &mut Oip) -> bool {
    within(client.model_infer(echo(&[1.0]))).await.is_ok()
}

#[tokio::test]
async fn a_gateway_in_a_pod_finds_its_account_and_follows_what_the_server_says() {
    let (server, backend) = cluster("first").await;
    let Some(pod) = Pod::with_account(&server, "first").await else { return };
    let mut client = pod.oip().await;
    eventually("a call is answered", async || is_answered(&mut client.clone()).await).await;
    assert_eq!(pod.endpoints().await, [backend.address().to_string()]);
    // The new token is there before the old one ends.
    server.accept_too("second");
    pod.exchange_token("second");
    server.put(Slice::new("b").ready(&["10.0.0.2"]));
    eventually("it is followed", async || pod.endpoints().await.len() == 2).await;
    assert!(is_answered(&mut client).await);
    assert!(server.shown().contains("first"), "{:?}", server.shown());
}

/// Set, the tests are run that take a minute.
const MINUTES: &str = "TAKE_MINUTES";

#[tokio::test]
async fn a_token_that_ends_is_followed_by_its_successor_and_no_call_notices() {
    if std::env::var_os(MINUTES).is_none() {
        return println!("left out: it takes a minute, and runs where {MINUTES} is set");
    }
    let (server, _backend) = cluster("first").await;
    let Some(pod) = Pod::with_account(&server, "first").await else { return };
    let mut client = pod.oip().await;
    eventually("a call is answered", async || is_answered(&mut client.clone()).await).await;
    pod.exchange_token("second");
    server.expect("second");
    // What is watched with the first token ends.
    server.expire();
    server.put(Slice::new("b").ready(&["10.0.0.2"]));
    let began = Instant::now();
    let followed = timeout(Duration::from_secs(90), async {
        let mut glances = tokio::time::interval(GLANCE);
        while pod.endpoints().await.len() < 2 {
            glances.tick().await;
            assert!(is_answered(&mut client).await, "after {:?}", began.elapsed());
        }
    });
    followed.await.expect("the file is read again within a minute");
    println!("followed after {:?}", began.elapsed());
    assert!(is_answered(&mut client).await && server.shown().contains("second"));
}
