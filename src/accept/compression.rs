//! Compressed messages: inflated up to the size limit and no further; answers mirror the request's encoding where the
//! caller says that it takes it.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use http::HeaderMap;

use super::message::Message;
use super::names::{GRPC_ACCEPT_ENCODING, GRPC_ENCODING};
use crate::error::{Error, Kind, Result};
use crate::tensor::Rope;
use crate::wire::PREFIX;

/// More bytes than this are not inflated or compressed on a thread that others wait for.
const IN_PLACE: usize = 64 * 1024;

/// What `grpc-accept-encoding` says.
pub const ACCEPTED: &str = "identity,gzip,zstd";

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// The encoding that a call's headers name.
    ///
    /// # Errors
    /// `Unsupported` for another than those of [`ACCEPTED`].
    pub fn of(headers: &HeaderMap) -> Result<Encoding> {
        match headers.get(GRPC_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"identity") => Ok(Encoding::Identity),
            Some(b"gzip") => Ok(Encoding::Gzip),
            Some(b"zstd") => Ok(Encoding::Zstd),
            Some(_) => Err(Error::unsupported(format!("this grpc-encoding is not served, expected one of {ACCEPTED}"))),
        }
    }

    /// The encoding of the answers to a call that came in this one: the same where the call's headers accept it.
    pub fn of_answers(self, headers: &HeaderMap) -> Encoding {
        let Some(name) = self.name() else { return Encoding::Identity };
        let lists = headers.get_all(GRPC_ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
        let is_accepted = lists.flat_map(|list| list.split(',')).any(|accepted| accepted.trim() == name);
        if is_accepted { self } else { Encoding::Identity }
    }

    /// Its name in headers; `None` where nothing need be said.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Encoding::Identity => None,
            Encoding::Gzip => Some("gzip"),
            Encoding::Zstd => Some("zstd"),
        }
    }

    /// A message inflated, with the bytes that it takes then; a large one on a thread that may be blocked.
    ///
    /// # Errors
    /// As [`Encoding::inflate`], and `Overloaded` where the bytes are not left.
    pub(super) async fn inflated(self, Message { bytes, mut taken }: Message, limit: usize) -> Result<Message> {
        let bytes = if bytes.len() <= IN_PLACE {
            self.inflate(&bytes, limit)?
        } else {
            let inflating = tokio::task::spawn_blocking(move || self.inflate(&bytes, limit));
            inflating.await.map_err(|_| Error::new(Kind::Engine, "inflating a message failed"))??
        };
        taken.grow(bytes.len())?;
        Ok(Message { bytes, taken })
    }

    /// A message compressed, as [`Encoding::deflate`]; a large one on a thread that may be blocked.
    pub(super) async fn deflated(self, message: Rope) -> Rope {
        if self == Encoding::Identity || message.len() <= IN_PLACE {
            return self.deflate(message);
        }
        let as_it_is = message.clone();
        tokio::task::spawn_blocking(move || self.deflate(message)).await.unwrap_or(as_it_is)
    }

    /// Inflates one message of `limit` bytes at most.
    ///
    /// # Errors
    /// `TooLarge` where it inflates to more, `Invalid` where it is not what the headers say.
    fn inflate(self, message: &[u8], limit: usize) -> Result<Bytes> {
        let broken = |error: io::Error| Error::invalid(format!("the message does not inflate: {error}"));
        let mut reader: Box<dyn Read + '_> = match self {
            Encoding::Identity => {
                return Err(Error::invalid("a message is flagged as compressed without grpc-encoding"));
            }
            Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(message)),
            Encoding::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(message).map_err(broken)?),
        };
        let mut inflated = Vec::new();
        reader.by_ref().take(limit as u64 + 1).read_to_end(&mut inflated).map_err(broken)?;
        if inflated.len() > limit {
            return Err(Error::new(Kind::TooLarge, format!("the message inflates to more than {limit} bytes")));
        }
        Ok(inflated.into())
    }

    /// Compresses a message that stands behind its prefix, and the prefix with it.
    fn deflate(self, message: Rope) -> Rope {
        let body = message.slice(PREFIX..message.len());
        // Writing to memory does not fail; should it ever, the message goes out as it is.
        match self.compress(&body) {
            Ok(Some(body)) => {
                let mut prefixed = BytesMut::with_capacity(PREFIX + body.len());
                prefixed.extend_from_slice(&[1]);
                prefixed.extend_from_slice(&(body.len() as u32).to_be_bytes());
                prefixed.extend_from_slice(&body);
                prefixed.freeze().into()
            }
            _ => message,
        }
    }

    fn compress(self, body: &Rope) -> io::Result<Option<Vec<u8>>> {
        match self {
            Encoding::Identity => Ok(None),
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
                write_all(&mut encoder, body)?;
                encoder.finish().map(Some)
            }
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?;
                write_all(&mut encoder, body)?;
                encoder.finish().map(Some)
            }
        }
    }
}

fn write_all(out: &mut impl io::Write, body: &Rope) -> io::Result<()> {
    body.parts().iter().try_for_each(|part| out.write_all(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deflated_inflates_to_the_same_and_never_past_the_limit() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let message = Rope::from([&[0, 0, 0, 0x27, 0x10][..], &[7; 10_000]].concat());
            let deflated = encoding.deflate(message.clone()).to_bytes();
            assert_eq!(deflated[0], 1);
            assert_eq!(u32::from_be_bytes(deflated[1..5].try_into().unwrap()) as usize, deflated.len() - PREFIX);
            let inflated = encoding.inflate(&deflated[PREFIX..], 10_000).unwrap();
            assert_eq!(inflated, message.to_bytes().slice(PREFIX..));
            let error = encoding.inflate(&deflated[PREFIX..], 9_999).unwrap_err();
            assert_eq!(error.kind(), Kind::TooLarge);
            assert_eq!(encoding.inflate(b"junk", 10).unwrap_err().kind(), Kind::Invalid);
        }
    }
}
