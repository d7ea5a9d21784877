//! Pages of an admin port, as a probe or a scrape reads them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wait::within;

/// How many calls the process with that admin port says that it has refused for this reason.
pub async fn refused_for(address: SocketAddr, reason: &str) -> u64 {
    let text = get(address, "/metrics").await.1;
    let name = format!("inference_calls_refused_total{{reason=\"{reason}\"}} ");
    let told = text.lines().find_map(|line| line.strip_prefix(&name));
    told.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// The status and the text of an answer to GET.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    within(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), text.to_owned())
    })
    .await
}
