//! Single HTTP/2 frames over a bare socket, for what no library lets one send or see.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wait::within;

/// Types of frames (RFC 9113, 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}

/// Flag of SETTINGS and PING.
const ACK: u8 = 1;
/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS.
const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Bytes,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Bytes>) -> Frame {
        Frame { kind, flags, stream, payload: payload.into() }
    }

    /// The HEADERS of a call, in one frame.
    pub fn call(stream: u32, path: &str) -> Frame {
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let mut block = BytesMut::new();
        for (name, value) in headers {
            // A literal without indexing and with a new name (RFC 7541, 6.2.2), neither of them in Huffman's code.
            block.put_u8(0);
            for text in [name, value] {
                assert!(text.len() < 127, "lengths of more than a byte are not written here");
                block.put_u8(text.len() as u8);
                block.put_slice(text.as_bytes());
            }
        }
        Frame::new(kind::HEADERS, END_HEADERS, stream, block.freeze())
    }

    /// Whether it is the last of its stream.
    pub fn ends(&self, stream: u32) -> bool {
        self.stream == stream && matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    /// The 32 bits at `offset`: an error code, an increment, a stream.
    pub fn number(&self, offset: usize) -> u32 {
        (&self.payload[offset..]).get_u32()
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_uint(self.payload.len() as u64, 3);
        out.put_u8(self.kind);
        out.put_u8(self.flags);
        out.put_u32(self.stream);
        out.put_slice(&self.payload);
    }
}

/// A connection on which nothing happens by itself, but for the acknowledgements that a peer is owed.
pub struct Wire {
    stream: TcpStream,
    read: BytesMut,
    /// Whether SETTINGS and PING are acknowledged.
    pub acknowledges: bool,
}

impl Wire {
    /// A connection on which nothing was said yet.
    pub async fn silent(address: SocketAddr) -> Wire {
        let stream = within(TcpStream::connect(address)).await.unwrap();
        Wire { stream, read: BytesMut::new(), acknowledges: true }
    }

    /// A connection with its preface and empty SETTINGS.
    pub async fn open(address: SocketAddr) -> Wire {
        let mut wire = Wire::silent(address).await;
        wire.say(PREFACE).await;
        wire.put(&[Frame::new(kind::SETTINGS, 0, 0, Bytes::new())]).await;
        wire
    }

    /// Sends bytes, whatever they are. A peer that has gone is seen when reading.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = within(self.stream.write_all(bytes)).await;
    }

    /// Sends frames at once.
    pub async fn put(&mut self, frames: &[Frame]) {
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        self.say(&bytes).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                if self.acknowledges && frame.flags & ACK == 0 && matches!(frame.kind, kind::SETTINGS | kind::PING) {
                    let payload = if frame.kind == kind::PING { frame.payload.clone() } else { Bytes::new() };
                    self.put(&[Frame::new(frame.kind, ACK, 0, payload)]).await;
                }
                return Some(frame);
            }
            // A connection that was reset has ended, too.
            if within(self.stream.read_buf(&mut self.read)).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next frame for which `wanted` holds; those before it are left out.
    pub async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection ended before the frame came");
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Every frame to the end of the connection.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Everything to the end of the connection, as bytes.
    pub async fn rest_as_bytes(&mut self) -> Vec<u8> {
        let mut all = self.read.split().to_vec();
        // What came before a reset counts.
        let _ = within(self.stream.read_to_end(&mut all)).await;
        all
    }

    fn take(&mut self) -> Option<Frame> {
        let len = self.read.get(..3).map(|len| len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))?;
        if self.read.len() < HEAD + len {
            return None;
        }
        let mut head = self.read.split_to(HEAD);
        head.advance(3);
        let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32());
        Some(Frame { kind, flags, stream, payload: self.read.split_to(len).freeze() })
    }
}
