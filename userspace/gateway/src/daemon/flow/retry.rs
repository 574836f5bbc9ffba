//! Holds a flow that is let through to what its first ClientHello said.

use bytes::{Bytes, BytesMut};
use sluice_abi::Reason;
use sluice_peek::{End as PeekEnd, Hello, NotTls, Peek, SecondHelloReader};
use sluice_policy::BlockKind;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::{Asked, Flow, Leg};
use crate::daemon::block::block;
use crate::daemon::metrics::Verdict;
use crate::daemon::peek::{First, read_some};
use crate::facts::not_negotiated;

/// A flow that may go on: its client, the client's bytes of which the origin has none yet, and the
/// origin.
type Held = (Leg, Bytes, Box<Asked>);

impl Flow<'_> {
    /// Relays the first hello and the origin's answer to it. Where that is a HelloRetryRequest, the
    /// second hello is waited for, and the flow blocked unless it says the same as the first.
    ///
    /// An origin that answers with no TLS asks for no second hello; what it has answered goes on.
    /// One that answers too late could still ask, so its flow does not go on unless a rule has let
    /// it through all the same.
    pub(super) async fn hold(
        &mut self,
        client: Leg,
        bytes: Bytes,
        asked: Option<Box<Asked>>,
    ) -> Result<Held, Reason> {
        let mut asked = match asked {
            Some(asked) => asked,
            None => self.ask_unjudged(&client, &bytes).await?,
        };
        let rest = bytes.slice(asked.sent.min(bytes.len())..);
        let consumed = match &self.known.first {
            Some(First::Hello(hello)) => hello.consumed,
            _ => bytes.len(),
        };
        if !asked.retry {
            return Ok((client, bytes, asked));
        }
        let unsent = consumed.saturating_sub(asked.sent);
        // From here on, what is sent is all that is left.
        asked.sent = 0;
        self.second_hello(client, (rest, unsent), asked).await
    }

    /// Asks an origin whose answer no rule asks about.
    async fn ask_unjudged(&mut self, client: &Leg, bytes: &[u8]) -> Result<Box<Asked>, Reason> {
        let origin = self.dial(true).await?;
        let mut held = BytesMut::new();
        let heard = self.hear(client, &origin, bytes, &mut held).await;
        let heard = heard.ok_or(Reason::ClientReset)?;
        if heard.broken {
            // What came before the connection broke may still reach the client.
            self.before.1 = client.try_write(&held).unwrap_or_default() as u64;
            return Err(Reason::OriginReset);
        }
        if heard.late {
            self.verdict = Verdict::Block;
            self.reason = Reason::OriginTimeout;
            return Err(self.reason);
        }
        Ok(Box::new(Asked {
            origin,
            sent: heard.sent,
            held: held.freeze(),
            retry: heard.retry,
        }))
    }

    /// Gives the client the origin's request for a second hello, and reads that one; `unsent` bytes
    /// of `rest` belong to the first.
    async fn second_hello(
        &mut self,
        mut client: Leg,
        (rest, unsent): (Bytes, usize),
        mut asked: Box<Asked>,
    ) -> Result<Held, Reason> {
        let deadline = Instant::now() + self.generation.hello_timeout;
        let request = std::mem::take(&mut asked.held);
        match timeout_at(deadline, client.stream_mut().write_all(&request)).await {
            Ok(Ok(())) => self.before.1 = request.len() as u64,
            Ok(Err(_)) => return Err(Reason::ClientReset),
            Err(_) => return Err(self.refuse_second(client, NotTls::Timeout).await),
        }
        let mut bytes = BytesMut::from(rest);
        let mut reader = SecondHelloReader::new(self.generation.hello_limit);
        loop {
            match reader.advance(bytes.get(unsent..).unwrap_or_default()) {
                Peek::NeedMore => {}
                Peek::Hello(second) if self.is_same(&second) => break,
                Peek::Hello(_) => {
                    self.reason = Reason::HelloRetryMismatch;
                    return Err(self.end_blocked(client, None).await);
                }
                Peek::NotTls(why) => return Err(self.refuse_second(client, why).await),
            }
            match timeout_at(deadline, read_some(&client, &mut bytes)).await {
                Ok(Ok(1..)) => {}
                // No second hello comes any more: the client does not go on with the handshake.
                Ok(Ok(0)) => break,
                Ok(Err(_)) => return Err(Reason::ClientReset),
                Err(_) => {
                    let late = bytes.get(unsent..).unwrap_or_default();
                    let why = reader.finish(late, PeekEnd::Deadline);
                    return Err(self.refuse_second(client, why).await);
                }
            }
        }
        Ok((client, bytes.freeze(), asked))
    }

    /// Whether a second hello says what the first one said, as far as rules see and RFC 8446
    /// section 4.1.2 has it stay: a name may not come or go either. RFC 9849 section 6.1.5 has the
    /// offer of ECH stay, too.
    fn is_same(&self, second: &Hello) -> bool {
        let Some(First::Hello(first)) = &self.known.first else {
            return false;
        };
        first.sni == second.sni
            && first.alpn == second.alpn
            && first.versions == second.versions
            && first.ech == second.ech
    }

    /// Blocks a flow whose second hello is none.
    async fn refuse_second(&mut self, client: Leg, why: NotTls) -> Reason {
        self.reason = match why {
            // The stream is not empty, and may have begun with TLS.
            NotTls::Silent => Reason::HelloTimeout,
            why => not_negotiated(why).reason(),
        };
        self.end_blocked(client, Some(First::NotTls(why))).await
    }

    /// Tells the client, and nothing more to the origin.
    async fn end_blocked(&mut self, client: Leg, second: Option<First>) -> Reason {
        self.verdict = Verdict::Block;
        let sent = second.as_ref().or(self.known.first.as_ref());
        block(client, BlockKind::Alert, sent).await;
        self.reason
    }
}
