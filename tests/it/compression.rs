//! Compressed messages, both ways.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use infergate::wire::proto::inference::{ModelInferResponse, ModelStreamInferResponse, ServerLiveRequest};
use prost::Message;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use crate::harness::{Answer, INFER, Model, STREAM_INFER, Serving, echo, echoed, framed, within};

/// How tests compress.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Gzip,
    Zstd,
}

const BOTH: [Encoding; 2] = [Encoding::Gzip, Encoding::Zstd];

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }

    fn deflate(self, message: &[u8]) -> Vec<u8> {
        match self {
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(message).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(message, 19).unwrap(),
        }
    }

    fn inflate(self, message: &[u8]) -> Vec<u8> {
        match self {
            Encoding::Gzip => {
                let mut inflated = Vec::new();
                GzDecoder::new(message).read_to_end(&mut inflated).unwrap();
                inflated
            }
            Encoding::Zstd => zstd::decode_all(message).unwrap(),
        }
    }

    fn of_tonic(self) -> CompressionEncoding {
        match self {
            Encoding::Gzip => CompressionEncoding::Gzip,
            Encoding::Zstd => CompressionEncoding::Zstd,
        }
    }
}

/// A compressed message behind its prefix.
fn flagged(deflated: &[u8]) -> Bytes {
    [&[1][..], &(deflated.len() as u32).to_be_bytes(), deflated].concat().into()
}

/// The only message of an answer and whether it was compressed.
fn only_message(answer: &Answer) -> (bool, Bytes) {
    let len = u32::from_be_bytes(answer.body[1..5].try_into().unwrap()) as usize;
    assert_eq!(answer.body.len(), 5 + len);
    (answer.body[0] == 1, answer.body.slice(5..))
}

#[tokio::test]
async fn generated_clients_may_compress_both_ways() {
    let serving = Serving::of([Model::echo()]).await;
    let values: Vec<f32> = (0..100_000).map(|index| (index % 7) as f32).collect();
    for encoding in BOTH.map(Encoding::of_tonic) {
        let mut client = serving.oip().await.send_compressed(encoding).accept_compressed(encoding);
        let answer = within(client.model_infer(echo(&values))).await.unwrap();
        assert!(echoed(answer.get_ref()) == values);
        // So do those that carry no tensors.
        assert!(within(client.server_live(ServerLiveRequest {})).await.unwrap().get_ref().live);
    }
    serving.finish().await;
}

#[tokio::test]
async fn a_caller_who_compresses_and_takes_it_gets_its_answer_compressed() {
    let serving = Serving::of([Model::echo()]).await;
    let raw = serving.raw().await;
    for encoding in BOTH {
        let body = flagged(&encoding.deflate(&echo(&[5.0; 1000]).encode_to_vec()));
        let headers = [("grpc-encoding", encoding.name()), ("grpc-accept-encoding", "identity,gzip,zstd")];
        let answer = raw.call(INFER, &headers, body).await;
        assert_eq!((answer.code(), answer.get("grpc-encoding")), (Code::Ok, Some(encoding.name())));
        let (is_compressed, message) = only_message(&answer);
        assert!(is_compressed && message.len() < 1000, "{} bytes", message.len());
        let response = ModelInferResponse::decode(&*encoding.inflate(&message)).unwrap();
        assert_eq!(echoed(&response), [5.0; 1000]);
    }
    serving.finish().await;
}

#[tokio::test]
async fn a_caller_who_does_not_take_the_encoding_gets_its_answer_plain() {
    let serving = Serving::of([Model::echo()]).await;
    let raw = serving.raw().await;
    for accepted in [None, Some("identity"), Some("identity, deflate")] {
        let mut headers = vec![("grpc-encoding", "gzip")];
        headers.extend(accepted.map(|accepted| ("grpc-accept-encoding", accepted)));
        let body = flagged(&Encoding::Gzip.deflate(&echo(&[5.0]).encode_to_vec()));
        let answer = raw.call(INFER, &headers, body).await;
        assert_eq!((answer.code(), answer.get("grpc-encoding")), (Code::Ok, None), "{accepted:?}");
        let (is_compressed, message) = only_message(&answer);
        assert!(!is_compressed, "{accepted:?}");
        assert_eq!(echoed(&ModelInferResponse::decode(message).unwrap()), [5.0]);
    }
    // As tonic's own client, which sends what it need not understand.
    let mut client = serving.oip().await.send_compressed(CompressionEncoding::Gzip);
    assert!(within(client.model_infer(echo(&[5.0]))).await.is_ok());
    serving.finish().await;
}

#[tokio::test]
async fn messages_of_a_stream_may_be_compressed_one_by_one() {
    let serving = Serving::of([Model::echo()]).await;
    let plain = framed(&echo(&[1.0]));
    let body = [flagged(&Encoding::Zstd.deflate(&echo(&[2.0]).encode_to_vec())), plain].concat();
    let headers = [("grpc-encoding", "zstd"), ("grpc-accept-encoding", "zstd")];
    let answer = serving.raw().await.call(STREAM_INFER, &headers, body).await;
    assert_eq!((answer.code(), answer.get("grpc-encoding")), (Code::Ok, Some("zstd")));
    let mut rest = answer.body;
    for expected in [2.0, 1.0] {
        assert_eq!(rest[0], 1);
        let len = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        let message = rest.split_to(5 + len).split_off(5);
        let message = ModelStreamInferResponse::decode(&*Encoding::Zstd.inflate(&message)).unwrap();
        assert_eq!(echoed(&message.infer_response.unwrap()), [expected]);
    }
    assert!(rest.is_empty());
    serving.finish().await;
}

#[tokio::test]
async fn a_bomb_is_inflated_to_the_limit_and_no_further() {
    let serving = Serving::with([Model::echo()], |config| config.limits.message_size = "64KiB".parse().unwrap()).await;
    let raw = serving.raw().await;
    for encoding in BOTH {
        // Cut in half, it is no message for whoever inflates past the limit, to its end.
        let mut bomb = encoding.deflate(&vec![0; 4 << 20]);
        bomb.truncate(bomb.len() / 2);
        assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
        let answer = raw.call(INFER, &[("grpc-encoding", encoding.name())], flagged(&bomb)).await;
        assert_eq!(answer.code(), Code::ResourceExhausted, "{encoding:?}");
        assert_eq!(answer.message(), "the message inflates to more than 65536 bytes");
    }
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn what_does_not_inflate_and_what_is_not_served_is_refused() {
    let serving = Serving::of([Model::echo()]).await;
    let raw = serving.raw().await;
    let junk = flagged(b"this is no gzip");
    let answer = raw.call(INFER, &[("grpc-encoding", "gzip")], junk.clone()).await;
    assert_eq!(answer.code(), Code::InvalidArgument);
    assert!(answer.message().starts_with("the message does not inflate: "), "{}", answer.message());

    for headers in [&[][..], &[("grpc-encoding", "identity")]] {
        let answer = raw.call(INFER, headers, junk.clone()).await;
        assert_eq!(answer.code(), Code::InvalidArgument);
        assert_eq!(answer.message(), "a message is flagged as compressed without grpc-encoding");
    }

    let answer = raw.call(INFER, &[("grpc-encoding", "snappy")], framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Unimplemented);
    assert_eq!(answer.message(), "this grpc-encoding is not served, expected one of identity,gzip,zstd");
    assert_eq!(answer.get("grpc-accept-encoding"), Some("identity,gzip,zstd"));

    // A message that says of itself that it is not compressed is none, whatever the headers say.
    let answer = raw.call(INFER, &[("grpc-encoding", "gzip")], framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Ok);
    serving.finish().await;
}
