//! A flow that a CONNECT opens: judged before there is a tunnel, then as any other.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sluice_abi::Reason;
use sluice_policy::{BlockKind, Decided, Decision, Fact, FactSet, Outcome, Stage};

use super::{Asked, Flow, Leg};
use crate::daemon::generation::Generation;
use crate::daemon::known::Known;
use crate::daemon::metrics::Verdict;
use crate::daemon::reach::{self, Target};
use crate::daemon::worker::Worker;
use crate::intercept::Judged;

/// What a policy can be asked about without knowing who the client is.
pub(crate) const WHO: FactSet = FactSet::of_all(&[Fact::User, Fact::Groups]);

/// What is to be answered to a CONNECT.
pub(crate) enum Opened {
    /// The tunnel stands.
    Tunnel,
    /// It is refused by the rules, and shown why.
    Blocked(Judged),
    /// It is refused by the rules, without a word.
    Reset,
    /// It cannot be made.
    Failed(Reason),
    /// It depends on who the client is.
    WhoIsIt,
}

/// A flow that a CONNECT opens.
pub(crate) struct Tunnel<'a> {
    flow: Flow<'a>,
    /// The origin, where it was to be connected to first.
    origin: Option<Leg>,
}

impl<'a> Tunnel<'a> {
    pub(crate) fn begin(worker: &'a Rc<Worker>, generation: Arc<Generation>, known: Known) -> Self {
        Self {
            flow: Flow::begin(worker, generation, known),
            origin: None,
        }
    }

    /// What is known of it.
    pub(crate) fn known(&self) -> &Rc<Known> {
        &self.flow.known
    }

    /// Finds out whether there is to be a tunnel. Where `anonymous`, nobody knows yet who the client
    /// is, and may ask.
    pub(crate) async fn open(&mut self, target: &Target, anonymous: bool) -> Opened {
        let opened = self.judge(target, anonymous).await;
        match &opened {
            Opened::Tunnel => {}
            Opened::Blocked(_) | Opened::Reset => {
                self.flow.verdict = Verdict::Block;
                self.flow.end = Some(self.flow.reason);
            }
            Opened::Failed(reason) => {
                if self.flow.outcome.is_none() {
                    self.flow.reason = *reason;
                }
                self.flow.end = Some(*reason);
            }
            Opened::WhoIsIt => {
                self.flow.reason = Reason::NoCredentials;
                self.flow.end = Some(Reason::NoCredentials);
            }
        }
        opened
    }

    async fn judge(&mut self, target: &Target, anonymous: bool) -> Opened {
        let who = if anonymous { WHO } else { FactSet::EMPTY };
        // What is refused wherever it leads is not looked up: names carry data to their servers.
        let unresolved = who.union(FactSet::of(Fact::Destination));
        if let Ok(decided) = self.weigh(unresolved)
            && let Outcome::Block(kind) = decided.outcome
        {
            self.flow.note(&decided);
            return self.blocked(kind);
        }
        let flow = &mut self.flow;
        let generation = Arc::clone(&flow.generation);
        let guard = &flow.worker.shared.guard;
        let port = flow.known.destination.port();
        let candidates = match reach::addresses(&generation, guard, target, port).await {
            Ok(candidates) => candidates,
            Err(reason) => return Opened::Failed(reason),
        };
        let Some(first) = candidates.first() else {
            return Opened::Failed(Reason::UnresolvedName);
        };
        flow.learn().destination = first;
        flow.candidates = Some(Box::new(candidates));
        if anonymous {
            match self.weigh(WHO) {
                Ok(decided) => drop(self.flow.note(&decided)),
                Err(true) => return Opened::WhoIsIt,
                Err(false) => {}
            }
        }
        let flow = &mut self.flow;
        match flow.decide() {
            Ok(Outcome::Allow | Outcome::Splice) => match flow.dial(true).await {
                Ok(origin) => {
                    self.origin = Some(origin);
                    Opened::Tunnel
                }
                Err(reason) => match flow.outcome {
                    Some(Outcome::Block(kind)) => self.blocked(kind),
                    _ => Opened::Failed(reason),
                },
            },
            Ok(Outcome::Block(kind)) => self.blocked(kind),
            decided => {
                flow.opened = Some(decided.ok());
                Opened::Tunnel
            }
        }
    }

    fn blocked(&self, kind: BlockKind) -> Opened {
        match kind {
            BlockKind::Reset => Opened::Reset,
            BlockKind::Alert | BlockKind::Page => Opened::Blocked(Judged {
                outcome: self.flow.outcome,
                rule: self.flow.rule,
                reason: self.flow.reason,
                warned_by: None,
            }),
        }
    }

    /// What the policy says while some facts are not known; otherwise whether it may hang on who the
    /// client is.
    fn weigh(&mut self, unknown: FactSet) -> Result<Decided, bool> {
        let flow = &mut self.flow;
        let policy = &flow.generation.policy;
        let mut facts = flow.known.facts(policy);
        facts.unknown = unknown;
        let began = Instant::now();
        let mut scratch = flow.worker.scratch.borrow_mut();
        let decision = policy.decide(&facts, &mut scratch);
        let taken = began.elapsed();
        flow.worker.metrics.decision.of(Stage::Open).note(taken);
        match decision {
            Decision::Decided(decided) => {
                flow.judged = true;
                Ok(decided)
            }
            Decision::Undecided(_) => Err(policy.may_hang_on(WHO, &facts, &mut scratch)),
        }
    }

    /// The client did not stay for the answer.
    pub(crate) fn abandon(mut self, why: Reason) {
        self.flow.end = Some(why);
    }

    /// Carries what goes through it, until it is over; `bytes` are those that came with the CONNECT.
    pub(crate) async fn run(self, client: Leg, bytes: BytesMut) {
        let Self { mut flow, origin } = self;
        let Some(origin) = origin else {
            return flow.run(client, bytes).await;
        };
        let asked = Asked {
            origin,
            sent: 0,
            held: Bytes::new(),
            retry: false,
        };
        let asked = Some(Box::new(asked));
        flow.end = Some(flow.carry(client, bytes.freeze(), asked).await);
    }
}
