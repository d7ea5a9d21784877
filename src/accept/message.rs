//! Reads gRPC messages out of a body. Large ones are put together once, into a buffer laid out so that their large
//! tensor is aligned; one that came in a single frame is not copied at all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::timeout_at;

use super::budget::{ByteBudget, Taken};
use super::compression::Encoding;
use crate::error::{Error, Kind, Result};
use crate::tensor::aligned;
use crate::wire::PREFIX;
use crate::wire::protobuf::payload_offset;

/// Messages up to this size stay as they came where they came in one frame. Should a tensor in one lie badly, its
/// instance copies it; that is cheap for so few bytes.
const SMALL: usize = 64 * 1024;

/// Tensors from this size on are worth aligning.
const LARGE_TENSOR: usize = 4 * 1024;

/// What a body may do.
#[derive(Debug, Clone, Copy)]
pub struct BodyRules {
    /// The largest message, also inflated.
    pub message_size: usize,
    /// How long after the headers the first byte may take.
    pub first_byte: Duration,
    /// The slowest that a message may come in, in bytes per second; 0 for any speed.
    pub min_rate: usize,
}

/// One message with the bytes that it takes of the budget.
#[derive(Debug)]
pub struct Message {
    /// Its bytes, inflated.
    pub bytes: Bytes,
    /// Held as long as they are in memory.
    pub taken: Taken,
}

/// The messages of one body.
#[derive(Debug)]
pub struct Messages<B> {
    body: B,
    encoding: Encoding,
    rules: BodyRules,
    budget: Arc<ByteBudget>,
    /// Fields that lead to the large bytes of such a message.
    path: &'static [u32],
    frames: VecDeque<Bytes>,
    buffered: usize,
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// The messages of `body`, whose large bytes lie where `path` leads.
    pub fn new(body: B, encoding: Encoding, rules: BodyRules, budget: Arc<ByteBudget>, path: &'static [u32]) -> Self {
        Messages { body, encoding, rules, budget, path, frames: VecDeque::new(), buffered: 0 }
    }

    /// The next message, in full by `deadline`; `None` at the end of the body.
    ///
    /// # Errors
    /// `TooLarge`, `Overloaded`, `Late` and `Cancelled` as the words say; `Invalid` where it is cut off or does not
    /// inflate.
    pub async fn next(&mut self, deadline: Instant) -> Result<Option<Message>> {
        let mut patience = Patience { rules: self.rules, since: Instant::now(), deadline, received: 0 };
        let Some((compressed, len)) = self.prefix(&mut patience).await? else { return Ok(None) };
        let limit = self.rules.message_size;
        if len > limit {
            let message = format!("a message of {len} bytes is over the limit of {limit} bytes");
            return Err(Error::new(Kind::TooLarge, message));
        }
        let taken = self.budget.take(len)?;
        let bytes = self.bytes(len, &mut patience).await?;
        let message = Message { bytes, taken };
        if compressed { self.encoding.inflated(message, limit).await.map(Some) } else { Ok(Some(message)) }
    }

    /// The only message of a unary call.
    ///
    /// # Errors
    /// As for [`Messages::next`], and `Invalid` where there is none or more than one.
    pub async fn only(&mut self, deadline: Instant) -> Result<Message> {
        let message = self.next(deadline).await?.ok_or_else(|| Error::invalid("the call has no message"))?;
        if self.buffered == 0 && self.body.is_end_stream() {
            return Ok(message);
        }
        let mut patience = Patience { rules: self.rules, since: Instant::now(), deadline, received: 0 };
        if self.buffered > 0 || self.frame(&mut patience).await? {
            return Err(Error::invalid("a unary call has more than one message"));
        }
        Ok(message)
    }

    /// The flag and length before a message.
    async fn prefix(&mut self, patience: &mut Patience) -> Result<Option<(bool, usize)>> {
        while self.buffered < PREFIX {
            if !self.frame(patience).await? {
                return if self.buffered == 0 { Ok(None) } else { Err(cut_off()) };
            }
        }
        let [flag, len @ ..] = self.take_prefix()?;
        match flag {
            0 | 1 => Ok(Some((flag == 1, u32::from_be_bytes(len) as usize))),
            _ => Err(Error::invalid(format!("a message has the flag {flag}, expected 0 or 1"))),
        }
    }

    fn take_prefix(&mut self) -> Result<[u8; PREFIX]> {
        // Nearly always it lies in one frame.
        if let Some(frame) = self.frames.front()
            && let Some(prefix) = frame.first_chunk::<PREFIX>().copied()
        {
            self.skip(PREFIX);
            return Ok(prefix);
        }
        let mut prefix = [0; PREFIX];
        for byte in &mut prefix {
            *byte = self.take_up_to(1).first().copied().ok_or_else(cut_off)?;
        }
        Ok(prefix)
    }

    /// The next `len` bytes in one piece.
    async fn bytes(&mut self, len: usize, patience: &mut Patience) -> Result<Bytes> {
        while self.buffered == 0 && len > 0 {
            if !self.frame(patience).await? {
                return Err(cut_off());
            }
        }
        if len <= SMALL && self.frames.front().is_none_or(|frame| frame.len() >= len) {
            return Ok(self.take_up_to(len));
        }
        let head = self.frames.front().map_or(&[][..], |frame| &frame[..frame.len().min(len)]);
        let offset = payload_offset(head, self.path, LARGE_TENSOR).unwrap_or(0);
        self.put_together(aligned::buffer(len, offset), len, patience).await
    }

    async fn put_together(&mut self, mut whole: BytesMut, len: usize, patience: &mut Patience) -> Result<Bytes> {
        while whole.len() < len {
            if self.buffered == 0 && !self.frame(patience).await? {
                return Err(cut_off());
            }
            let part = self.take_up_to(len - whole.len());
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    /// Drops bytes of the first frame, which has as many.
    fn skip(&mut self, len: usize) {
        let Some(frame) = self.frames.front_mut() else { return };
        frame.advance(len);
        if !frame.has_remaining() {
            self.frames.pop_front();
        }
        self.buffered -= len;
    }

    /// Bytes of the first frame, `len` at most.
    fn take_up_to(&mut self, len: usize) -> Bytes {
        let Some(frame) = self.frames.front_mut() else { return Bytes::new() };
        if frame.len() > len {
            self.buffered -= len;
            return frame.split_to(len);
        }
        let whole = self.frames.pop_front().unwrap_or_default();
        self.buffered -= whole.len();
        whole
    }

    /// The next frame as the body gives it. Most have come already, and need no timer.
    async fn next_frame(&mut self, patience: &Patience) -> Result<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.body.frame().now_or_never() {
            return Ok(frame);
        }
        timeout_at(patience.until().into(), self.body.frame()).await.map_err(|_| patience.error())
    }

    /// Waits for the next frame with data; false at the end of the body.
    async fn frame(&mut self, patience: &mut Patience) -> Result<bool> {
        loop {
            let frame = match self.next_frame(patience).await? {
                None => return Ok(false),
                Some(Err(error)) => {
                    return Err(Error::new(Kind::Cancelled, format!("the caller went away: {error}")));
                }
                Some(Ok(frame)) => frame,
            };
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                patience.received += data.len();
                self.buffered += data.len();
                self.frames.push_back(data);
                return Ok(true);
            }
        }
    }
}

fn cut_off() -> Error {
    Error::invalid("the body ends inside a message")
}

/// How long one message is waited for.
struct Patience {
    rules: BodyRules,
    since: Instant,
    deadline: Instant,
    received: usize,
}

impl Patience {
    fn until(&self) -> Instant {
        self.slowest().map_or(self.deadline, |slowest| slowest.min(self.deadline))
    }

    /// When the next bytes must be there at the slowest speed that is accepted.
    fn slowest(&self) -> Option<Instant> {
        let for_bytes = match self.rules.min_rate {
            0 if self.received > 0 => return None,
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(self.received as f64 / rate as f64),
        };
        Some(self.since + self.rules.first_byte + for_bytes)
    }

    fn error(&self) -> Error {
        if self.deadline <= Instant::now() {
            Error::late("reading the request")
        } else {
            Error::new(Kind::Late, "the request's body came too slowly")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::protobuf::{put_bytes, put_head};

    const RULES: BodyRules = BodyRules { message_size: 1 << 20, first_byte: Duration::from_secs(10), min_rate: 1024 };

    fn messages(frames: Vec<Vec<u8>>) -> Messages<impl Body<Data = Bytes, Error = Infallible> + Unpin> {
        let frames = frames.into_iter().map(|frame| Ok(Frame::data(Bytes::from(frame))));
        let body = StreamBody::new(tokio_stream::iter(frames));
        Messages::new(body, Encoding::Identity, RULES, ByteBudget::new(1 << 21), &[7])
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_wherever_their_frames_were_cut(
            sizes in prop::collection::vec(prop_oneof![0..40usize, 60_000..70_000usize], 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                bytes.push(0);
                bytes.extend((*size as u32).to_be_bytes());
                bytes.extend(vec![index as u8; *size]);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort();
            let frames = cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec()).collect();
            block_on(async {
                let mut messages = messages(frames);
                for (index, size) in sizes.iter().enumerate() {
                    let message = messages.next(soon()).await.unwrap().unwrap();
                    assert_eq!(message.bytes, vec![index as u8; *size]);
                }
                assert!(messages.next(soon()).await.unwrap().is_none());
            });
        }
    }

    #[test]
    fn the_large_tensor_is_aligned_whatever_the_length_of_the_header() {
        for name in 0..70 {
            let mut message = Vec::new();
            put_bytes(&mut message, 1, &vec![b'n'; name + 1]);
            put_head(&mut message, 7, 100_000);
            let offset = message.len();
            message.extend(vec![5; 100_000]);
            let mut body = vec![0];
            body.extend((message.len() as u32).to_be_bytes());
            body.extend(message);
            let frames = body.chunks(16 * 1024).map(<[u8]>::to_vec).collect();
            let message = block_on(messages(frames).only(soon())).unwrap();
            assert!(aligned::is_aligned(&message.bytes[offset..], aligned::ALIGNMENT), "name of {name} bytes");
        }
    }

    #[test]
    fn bodies_that_break_the_rules_are_refused_with_the_right_kind() {
        let refusal = |frames| block_on(messages(frames).only(soon())).unwrap_err();
        assert_eq!(refusal(vec![]).message(), "the call has no message");
        assert_eq!(refusal(vec![vec![0, 0]]).message(), "the body ends inside a message");
        assert_eq!(refusal(vec![vec![0, 0, 0, 0, 2, 1]]).message(), "the body ends inside a message");
        assert_eq!(refusal(vec![vec![2, 0, 0, 0, 0]]).message(), "a message has the flag 2, expected 0 or 1");
        assert_eq!(refusal(vec![vec![0; 10]]).message(), "a unary call has more than one message");
        let error = refusal(vec![vec![0, 0x7f, 0xff, 0xff, 0xff]]);
        assert_eq!(error.kind(), Kind::TooLarge);
        assert_eq!(error.message(), "a message of 2147483647 bytes is over the limit of 1048576 bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up_and_so_is_one_that_trickles() {
        let body = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let mut silent = Messages::new(body, Encoding::Identity, RULES, ByteBudget::new(1 << 20), &[7]);
        let deadline = Instant::now() + Duration::from_secs(3600);
        assert_eq!(silent.only(deadline).await.unwrap_err().message(), "the request's body came too slowly");
    }
}
