//! One flow of a capture, and what the daemon makes of it.

use std::{net::IpAddr, time::Duration};

use sluice_abi::{Reason, Verdict};
use sluice_peek::NotTls;
use sluice_policy::{BlockKind, Decision, Facts, Outcome, Policy, Scratch, Stage};

use super::stream::First;
use crate::facts::{self, Answered};

/// Who began a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Somebody behind the gateway.
    Client,
    /// Somebody else.
    Remote,
}

/// What the daemon would have done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judged {
    /// What becomes of the flow; `None` where that hangs on an answer of the origin's that the
    /// capture does not hold.
    pub outcome: Option<Outcome>,
    /// The rule that decides; `None` for a default, and where nothing is decided.
    pub rule: Option<String>,
}

/// One flow of a capture.
#[derive(Clone, Debug)]
pub struct FlowRecord {
    /// Transport protocol number.
    pub protocol: u8,
    /// The initiator's address.
    pub src: IpAddr,
    /// The initiator's port, for protocols that have ports.
    pub sport: Option<u16>,
    /// The other side's address.
    pub dst: IpAddr,
    /// The other side's port.
    pub dport: Option<u16>,
    /// Which side the initiator is on.
    pub initiator: Side,
    /// Packets of either direction.
    pub packets: u64,
    /// What the kernel programs said of the first packet that crosses the LAN device; `None` where
    /// none does.
    pub kernel: Option<(Verdict, Reason)>,
    /// What the client's first bytes are; `None` where the flow is not TCP, and where they are not
    /// in the capture.
    pub first: Option<First>,
    /// What else the daemon would have known.
    pub known: Known,
    /// What the daemon would have done with a steered flow, if it would have met it.
    pub judged: Option<Judged>,
}

/// What the daemon would have known of a flow beside what the record says of it.
#[derive(Clone, Debug)]
pub struct Known {
    /// Time of its first packet, since 1970.
    pub began: Duration,
    /// Whether the daemon would have met it, from its beginning.
    pub met: bool,
    /// The application that the client's first bytes show.
    pub application: Option<&'static str>,
    /// The host that a request in the clear names, where the first segments hold its whole head.
    pub http_host: Option<Box<str>>,
    /// What the origin answers to a genuine hello; `None` where the capture does not hold that.
    pub answered: Option<Answered>,
}

impl Known {
    pub(super) const fn begun(began: Duration) -> Self {
        Self {
            began,
            met: false,
            application: None,
            http_host: None,
            answered: None,
        }
    }
}

impl FlowRecord {
    /// Whether the kernel hands the flow over to the daemon.
    #[must_use]
    pub const fn is_steered(&self) -> bool {
        matches!(self.kernel, Some((Verdict::Steer, _)))
    }

    /// What the daemon knows of the flow, as deep as the capture shows: of one that it does not
    /// meet no more than the kernel does, or than when it was opened.
    #[must_use]
    pub fn facts<'f>(&'f self, policy: &'f Policy) -> Facts<'f> {
        let Some(opened) = self.opened(policy) else {
            let (client, destination, port) = self.ends();
            let mut facts = Facts::at(Stage::Packet);
            (facts.client, facts.destination, facts.port) = (Some(client), Some(destination), port);
            return facts;
        };
        let greeted = self.greeted(opened);
        match (&self.first, self.known.answered, greeted) {
            (Some(First::Hello(_)), Some(answered), Some(greeted)) => {
                facts::of_answer(greeted, answered)
            }
            _ => greeted.unwrap_or(opened),
        }
    }

    /// The client, and the address and port on the other side.
    const fn ends(&self) -> (IpAddr, IpAddr, Option<u16>) {
        match self.initiator {
            Side::Client => (self.src, self.dst, self.dport),
            Side::Remote => (self.dst, self.src, self.sport),
        }
    }

    fn opened<'f>(&self, policy: &'f Policy) -> Option<Facts<'f>> {
        let (client, destination, port) = self.ends();
        let port = port.filter(|_| self.is_steered())?;
        let time = i64::try_from(self.known.began.as_secs()).unwrap_or(i64::MAX);
        Some(facts::opened(policy, client, destination, port, time))
    }

    /// With what the client sent first; `None` where the daemon does not meet the flow.
    fn greeted<'f>(&'f self, opened: Facts<'f>) -> Option<Facts<'f>> {
        let other = |why| {
            let host = self.known.http_host.as_deref();
            facts::of_not_tls(opened, why, self.known.application, host)
        };
        let first = self.first.as_ref().filter(|_| self.known.met)?;
        Some(match first {
            First::Hello(hello) => facts::of_hello(opened, hello),
            First::NotTls(why) => other(*why),
            First::EmptyRecordAlone => other(NotTls::ZeroLengthRecord),
            // A client that sends nothing is told apart from one that is slow when its time is up.
            First::Nothing => other(NotTls::Silent),
        })
    }

    /// What the daemon decides: the same policy, the same facts, no deeper than it must look.
    pub(super) fn judge(&self, policy: &Policy) -> Option<Judged> {
        let greeted = self.greeted(self.opened(policy)?)?;
        let mut scratch = Scratch::default();
        let decide = |facts: &Facts<'_>, scratch: &mut Scratch| match policy.decide(facts, scratch)
        {
            Decision::Decided(decided) => Ok(Judged {
                outcome: Some(possible(decided.outcome)),
                rule: decided
                    .cause
                    .rule()
                    .and_then(|id| policy.rule(id))
                    .map(|rule| rule.name.to_string()),
            }),
            Decision::Undecided(undecided) => Err(undecided.next),
        };
        let mut judged = decide(&greeted, &mut scratch);
        if matches!(self.first, Some(First::Hello(_)))
            && matches!(judged, Err(Some(Stage::ServerHello | Stage::Certificate)))
        {
            let Some(answered) = self.known.answered else {
                // Whatever the answer would have been: where every way is a block, it is one.
                let block = Outcome::Block(BlockKind::Alert);
                let blocks = match policy.weigh(&greeted, &mut scratch) {
                    Decision::Decided(decided) => possible(decided.outcome).is_block(),
                    Decision::Undecided(undecided) => undecided
                        .possible
                        .iter()
                        .all(|outcome| possible(outcome).is_block()),
                };
                return Some(Judged {
                    outcome: blocks.then_some(block),
                    rule: None,
                });
            };
            let answered = facts::of_answer(greeted, answered);
            judged = decide(&answered, &mut scratch);
            if matches!(judged, Err(Some(Stage::Certificate))) {
                judged = decide(&facts::without_certificate(answered), &mut scratch);
            }
        }
        // A flow that hangs on what cannot be known is blocked.
        Some(judged.unwrap_or(Judged {
            outcome: Some(Outcome::Block(BlockKind::Alert)),
            rule: None,
        }))
    }
}

/// What an outcome comes to, as long as nothing is decrypted and no page is shown.
const fn possible(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::AllowDecrypted | Outcome::Warn | Outcome::WarnDecrypted => {
            Outcome::Block(BlockKind::Alert)
        }
        outcome => outcome,
    }
}
