//! What is spoken inside TLS where HTTP was not agreed on: known by its first bytes, and relayed
//! under rules of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sluice_abi::Reason;
use sluice_peek::foreign;
use sluice_policy::{Decision, Inner, Outcome, Request, Stage};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes,
};
use tokio::time::{Instant as Deadline, timeout_at};

use super::Flow;
use crate::daemon::metrics::Verdict;
use crate::intercept::rewind::Traffic;
use crate::intercept::time_up;

/// Bytes that are read before it is known what they are.
const FIRST: usize = 4096;
/// Bytes of one direction that wait for the other side.
const BUFFER: usize = 64 << 10;

/// Reads a client's first decrypted bytes until they show what it speaks, or cannot; none where it
/// says nothing in its time, since then it waits for the origin.
pub(super) async fn first_inside(
    stream: &mut (impl AsyncRead + Unpin),
    (silent, more): (Duration, Duration),
) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(FIRST);
    let mut deadline = Deadline::now() + silent;
    while foreign::may_show_more(&bytes) && bytes.len() < FIRST {
        match timeout_at(deadline, stream.read_buf(&mut bytes)).await {
            Ok(Ok(read @ 1..)) => {
                if read == bytes.len() {
                    deadline = Deadline::now() + more;
                }
            }
            // What failed fails again for whoever reads on.
            Ok(_) | Err(_) => break,
        }
    }
    bytes
}

impl Flow<'_> {
    /// Relays what is no HTTP, if the rules let it; `first` was read already.
    pub(super) async fn relay_inside<C, O>(
        &mut self,
        (mut client, to_client): (C, Arc<Traffic>),
        (mut origin, to_origin): (O, Arc<Traffic>),
        first: BytesMut,
    ) -> Reason
    where
        C: AsyncRead + AsyncWrite + Unpin,
        O: AsyncRead + AsyncWrite + Unpin,
    {
        let inner = foreign::application(&first);
        let inner = inner.map_or(Inner::Unrecognised, Inner::from_name);
        if !self.lets_inside(inner) {
            self.verdict = Verdict::Block;
            // The end of TLS is said in order; what follows is reset.
            let _ = client.shutdown().await;
            return self.reason;
        }
        let moving = || to_client.sum() + to_origin.sum();
        let relay = async {
            origin.write_all(&first).await?;
            origin.flush().await?;
            drop(first);
            copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER, BUFFER).await
        };
        let end = tokio::select! {
            relayed = relay => match relayed {
                Ok(_) => Reason::Finished,
                Err(error) => {
                    tracing::debug!(%error, "a decrypted flow broke");
                    Reason::ClientReset
                }
            },
            why = time_up(&self.generation.relay, moving) => why,
        };
        self.before.0 += to_origin.written();
        self.before.1 = to_client.written();
        end
    }

    /// What the policy says of it.
    fn lets_inside(&mut self, inner: Inner<'static>) -> bool {
        let generation = Arc::clone(&self.generation);
        let mut facts = self.known.facts(&generation.policy);
        facts.stage = Stage::Request;
        facts.request = Request {
            inspected: Some(true),
            inner: Some(inner),
            ..Request::NONE
        };
        let began = Instant::now();
        let decision = generation
            .policy
            .decide(&facts, &mut self.worker.scratch.borrow_mut());
        let taken = began.elapsed();
        self.worker.metrics.decision.of(Stage::Request).note(taken);
        self.stage = Stage::Request;
        let Decision::Decided(decided) = decision else {
            self.reason = Reason::StageUnavailable;
            return false;
        };
        self.reason = decided.cause.reason();
        self.rule = decided.cause.rule();
        self.outcome = Some(decided.outcome);
        matches!(
            decided.outcome,
            Outcome::Allow | Outcome::AllowDecrypted | Outcome::Splice
        )
    }
}
