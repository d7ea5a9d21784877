//! A name server over UDP that answers what a test tells it, and refuses when it is told so.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Seconds that records may be kept.
const TTL: u32 = 1;

/// Dropping it stops it.
pub struct NameServer {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    answering: JoinHandle<()>,
}

#[derive(Default)]
struct Zone {
    records: HashMap<String, Vec<RData>>,
    is_failing: bool,
    questions: usize,
}

impl NameServer {
    /// One that knows no names.
    pub async fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, zone) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(Zone::default())));
        let answering = tokio::spawn(answer(socket, zone.clone()));
        NameServer { address, zone, answering }
    }

    /// A name, written with its final dot, stands for these addresses.
    pub fn hosts(&self, name: &str, addresses: &[&str]) {
        let record = |text: &&str| match text.parse().unwrap() {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        self.set(name, addresses.iter().map(record).collect());
    }

    /// A name has these services: priority, port, target.
    pub fn services(&self, name: &str, services: &[(u16, u16, &str)]) {
        let record = |(priority, port, target): &(u16, u16, &str)| {
            RData::SRV(SRV::new(*priority, 0, *port, Name::from_ascii(target).unwrap()))
        };
        self.set(name, services.iter().map(record).collect());
    }

    /// Every question is answered with a failure of the server.
    pub fn fail(&self, is_failing: bool) {
        self.zone.lock().unwrap().is_failing = is_failing;
    }

    /// How many questions it was asked.
    pub fn questions(&self) -> usize {
        self.zone.lock().unwrap().questions
    }

    fn set(&self, name: &str, records: Vec<RData>) {
        self.zone.lock().unwrap().records.insert(name.to_owned(), records);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn answer(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 1500];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let answer = zone.lock().unwrap().answer(&question);
        let _ = socket.send_to(&answer.to_vec().unwrap(), client).await;
    }
}

impl Zone {
    fn answer(&mut self, question: &Message) -> Message {
        self.questions += 1;
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_available = true;
        let query = question.queries[0].clone();
        answer.add_query(query.clone());
        if self.is_failing {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
        let Some(records) = self.records.get(&query.name().to_ascii()) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            return answer;
        };
        let asked_for = records.iter().filter(|data| data.record_type() == query.query_type());
        answer.add_answers(asked_for.map(|data| Record::from_rdata(query.name().clone(), TTL, data.clone())));
        answer
    }
}
