//! `infergate models`: what a server serves, and of one model what it takes, gives and has done.

mod listing;

use std::io::Write;

use clap::Args;
use tonic::{Code, Status};

use super::client::{self, Client, ServerArgs};
use super::failure::{Failure, print};
use super::json::pretty;
use super::signature::signature;
use crate::wire::proto::inference::{
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelStatistics, ModelStatisticsRequest,
    RepositoryIndexRequest,
};
use listing::{Detail, Entry, Listing};

/// Flags of `infergate models`.
#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
    /// One model, to be told what it takes and gives and what it has done
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl ModelsArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        client::block_on(self.show(&mut std::io::stdout()))
    }

    async fn show(&self, out: &mut impl Write) -> Result<(), Failure> {
        let mut client = self.server.connect().await?;
        let index = self.index(&mut client).await?;
        let listing = match &self.name {
            Some(name) => self.one(&mut client, name, index).await?,
            None => {
                let without = "the server has no index of its models: name one, as in infergate models NAME";
                Listing { entries: index.ok_or_else(|| Failure::failed(without))?, detail: None }
            }
        };
        print(out, &if self.json { pretty(&listing.json()) } else { listing.text() })
    }

    /// One model's entries, and its detail where any version of it can be asked.
    async fn one(&self, client: &mut Client, name: &str, index: Option<Vec<Entry>>) -> Result<Listing, Failure> {
        let metadata = self.metadata(client, name).await;
        let entries = match (index, &metadata) {
            (Some(index), _) => of(name, index)?,
            (None, Ok(metadata)) => self.entries(client, name, metadata).await,
            (None, Err(status)) => return Err(self.server.refused(status)),
        };
        let detail = match metadata {
            Ok(metadata) => {
                let signature = signature(&metadata)?;
                let statistics = self.statistics(client, name).await;
                Some(Detail { platform: metadata.platform, signature, statistics })
            }
            // The index knows of it, and says why it cannot be asked.
            Err(_) => None,
        };
        Ok(Listing { entries, detail })
    }

    /// The server's index, where it has one.
    async fn index(&self, client: &mut Client) -> Result<Option<Vec<Entry>>, Failure> {
        match client.repository_index(self.server.request(RepositoryIndexRequest::default())).await {
            Ok(index) => Ok(Some(index.into_inner().models.into_iter().map(Entry::from).collect())),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(self.server.refused(&status)),
        }
    }

    async fn metadata(&self, client: &mut Client, name: &str) -> Result<ModelMetadataResponse, Status> {
        let request = ModelMetadataRequest { name: name.to_owned(), version: String::new() };
        client.model_metadata(self.server.request(request)).await.map(|metadata| metadata.into_inner())
    }

    /// What a server without an index says of a model's versions.
    async fn entries(&self, client: &mut Client, name: &str, metadata: &ModelMetadataResponse) -> Vec<Entry> {
        let unnamed = vec![String::new()];
        let versions = if metadata.versions.is_empty() { &unnamed } else { &metadata.versions };
        let mut entries = Vec::new();
        for version in versions {
            let request = ModelReadyRequest { name: name.to_owned(), version: version.clone() };
            let ready = client.model_ready(self.server.request(request)).await;
            entries.push(Entry::asked(name, version, ready.map(|ready| ready.into_inner().ready)));
        }
        entries
    }

    /// What the model's versions have done; nothing where the server does not count.
    async fn statistics(&self, client: &mut Client, name: &str) -> Vec<ModelStatistics> {
        let request = ModelStatisticsRequest { name: name.to_owned(), version: String::new() };
        let statistics = client.model_statistics(self.server.request(request)).await;
        statistics.map(|statistics| statistics.into_inner().model_stats).unwrap_or_default()
    }
}

/// The entries of one model.
fn of(name: &str, index: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
    let mut known: Vec<String> = index.iter().map(|entry| entry.name.clone()).collect();
    known.dedup();
    let entries: Vec<Entry> = index.into_iter().filter(|entry| entry.name == name).collect();
    match (entries.is_empty(), known.is_empty()) {
        (false, _) => Ok(entries),
        (true, true) => Err(Failure::failed(format_args!("no model {name:?} is known, nor any other"))),
        (true, false) => {
            Err(Failure::failed(format_args!("no model {name:?} is known: there are {}", known.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::stub::Stub;
    use crate::wire::proto::inference::model_metadata_response::TensorMetadata;
    use crate::wire::proto::inference::repository_index_response::ModelIndex;
    use crate::wire::proto::inference::{ModelReadyResponse, RepositoryIndexResponse};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        models: ModelsArgs,
    }

    async fn shown(stub: Stub, flags: &[&str]) -> Result<String, Failure> {
        let target = stub.start().await;
        let flags = [&["models", "--target", &target], flags].concat();
        let mut out = Vec::new();
        let shown = Command::try_parse_from(flags).unwrap().models.show(&mut out).await;
        shown.map(|()| String::from_utf8(out).unwrap())
    }

    fn metadata() -> ModelMetadataResponse {
        let tensor = TensorMetadata { name: "x".into(), datatype: "FP32".into(), shape: vec![-1, 2] };
        let versions = vec!["1".into(), "2".into()];
        ModelMetadataResponse { name: "m".into(), versions, inputs: vec![tensor], ..Default::default() }
    }

    fn entry(name: &str, version: &str) -> Entry {
        Entry { name: name.into(), version: version.into(), state: "READY".into(), reason: String::new() }
    }

    #[test]
    fn a_model_is_found_by_its_whole_name() {
        let index = || vec![entry("a", "1"), entry("a", "2"), entry("ab", "1")];
        assert_eq!(of("a", index()), Ok(vec![entry("a", "1"), entry("a", "2")]));
        assert_eq!(of("b", index()), Err(Failure::failed("no model \"b\" is known: there are a, ab")));
        assert_eq!(of("b", vec![]), Err(Failure::failed("no model \"b\" is known, nor any other")));
    }

    #[tokio::test]
    async fn a_server_without_an_index_is_asked_for_each_version_of_a_model() {
        let stub = Stub::default()
            .answering("ModelMetadata", &metadata())
            .answering("ModelReady", &ModelReadyResponse { ready: true });
        let text = shown(stub, &["m"]).await.unwrap();
        assert!(text.contains("\nm      1        READY\nm      2        READY\n"), "{text}");
        assert!(text.contains("\nx      FP32      [-1,2]\n"), "{text}");
        let without = shown(Stub::default(), &[]).await.unwrap_err();
        assert!(without.to_string().starts_with("the server has no index of its models: name one"), "{without}");
    }

    #[tokio::test]
    async fn a_model_that_cannot_be_asked_is_shown_with_its_reason() {
        let (name, state, reason) = ("m".into(), "UNAVAILABLE".into(), "it is broken".into());
        let index = RepositoryIndexResponse { models: vec![ModelIndex { name, state, reason, ..Default::default() }] };
        let stub = Stub::default().answering("RepositoryIndex", &index).refusing("ModelMetadata", 5, "no version");
        let text = shown(stub, &["m"]).await.unwrap();
        assert_eq!(text, "MODEL  VERSION  STATE        REASON\nm               UNAVAILABLE  it is broken\n");
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_code() {
        let stub = Stub::default().refusing("RepositoryIndex", 16, "who are you");
        assert_eq!(shown(stub, &[]).await, Err(Failure::failed("who are you (UNAUTHENTICATED)")));
    }
}
