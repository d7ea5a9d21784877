//! A collector of spans that takes what comes.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

/// Takes messages at `listener` until the process is killed, each after so long.
pub async fn take(listener: TcpListener, delay: Duration) {
    let server = Server::builder().add_service(TraceServiceServer::new(Taking { delay }));
    // As collectors do: else every second message waits 40 ms for an acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    server.serve_with_incoming(incoming).await.expect("it serves");
}

struct Taking {
    delay: Duration,
}

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        _request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        tokio::time::sleep(self.delay).await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
