//! One flow of a capture, and what the daemon makes of it.

use std::{net::IpAddr, time::Duration};

use sluice_abi::{Reason, Verdict};
use sluice_peek::NotTls;
use sluice_policy::{Decision, Facts, Outcome, Policy, Scratch, Stage};

use super::stream::First;
use crate::{
    config::Config,
    explain::answer::rule_of,
    facts::{self, Answered},
};

/// Who began a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Somebody behind the gateway.
    Client,
    /// Somebody else.
    Remote,
}

/// What becomes of a flow in the end, as far as a capture tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Will {
    /// It is refused, with or without a page.
    Block,
    /// It is decrypted, or read where it is cleartext HTTP, and its requests are judged, of which a
    /// capture tells nothing. An origin that cannot be met or verified can still end it.
    Intercept,
    /// That hangs on the origin's certificate, for which a handshake of sluice's own is made.
    Probe,
    /// It is relayed unread.
    Splice,
    /// That hangs on an answer of the origin's that the capture does not hold.
    Undecided,
    /// A warning is shown, unless the user has gone on behind it before.
    Warn,
}

impl Will {
    /// The word in either form of output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Intercept => "intercept",
            Self::Probe => "probe",
            Self::Splice => "splice",
            Self::Undecided => "undecided",
            Self::Warn => "warn",
        }
    }

    /// What an outcome comes to; `readable`: whether requests of the flow can be read, and pages
    /// shown.
    const fn of(outcome: Outcome, readable: bool) -> Self {
        match outcome {
            Outcome::Allow | Outcome::Splice => Self::Splice,
            Outcome::AllowDecrypted | Outcome::WarnDecrypted if readable => Self::Intercept,
            Outcome::Warn if readable => Self::Warn,
            _ => Self::Block,
        }
    }
}

/// What the daemon would have done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judged {
    /// What becomes of the flow.
    pub will: Will,
    /// Whether rules or defaults decided that.
    pub decided: bool,
    /// The rule that decides; `None` for a default, and where nothing is decided.
    pub rule: Option<String>,
}

impl Judged {
    const fn undecided(will: Will) -> Self {
        Self {
            will,
            decided: false,
            rule: None,
        }
    }
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
    pub(super) fn judge(&self, config: &Config) -> Option<Judged> {
        let policy = &config.policy;
        let greeted = self.greeted(self.opened(policy)?)?;
        let is_hello = matches!(self.first, Some(First::Hello(_)));
        let readable = self.known.application == Some("http") || is_hello && config.ca.is_some();
        let mut scratch = Scratch::default();
        let mut decide = |facts: &Facts<'_>| {
            let decision = policy.decide(facts, &mut scratch);
            match &decision {
                Decision::Decided(decided) => Ok(Judged {
                    will: Will::of(decided.outcome, readable),
                    decided: true,
                    rule: rule_of(policy, &decision).map(str::to_owned),
                }),
                Decision::Undecided(undecided) => Err(undecided.next),
            }
        };
        let mut judged = decide(&greeted);
        let mut known = greeted;
        if is_hello && matches!(judged, Err(Some(Stage::ServerHello | Stage::Certificate))) {
            match self.known.answered {
                Some(answered) => {
                    known = facts::of_answer(greeted, answered);
                    judged = decide(&known);
                }
                None => judged = Ok(Judged::undecided(Will::Undecided)),
            }
            if matches!(judged, Err(Some(Stage::Certificate))) {
                judged = Ok(Judged::undecided(Will::Probe));
            }
        }
        if let Ok(Judged {
            will: will @ (Will::Undecided | Will::Probe),
            ..
        }) = &mut judged
            // Whatever it would have been: where every way is a block, it is one.
            && match policy.weigh(&known, &mut scratch) {
                Decision::Decided(decided) => Will::of(decided.outcome, readable) == Will::Block,
                Decision::Undecided(undecided) => undecided
                    .possible
                    .iter()
                    .all(|outcome| Will::of(outcome, readable) == Will::Block),
            }
        {
            *will = Will::Block;
        }
        Some(match judged {
            Ok(judged) => judged,
            Err(Some(Stage::Request)) if readable => Judged::undecided(Will::Intercept),
            // A flow that hangs on what cannot be known is blocked.
            Err(_) => Judged::undecided(Will::Block),
        })
    }
}

#[cfg(test)]
mod tests {
    use sluice_peek::{FirstReader, Peek};
    use sluice_policy::Tls;

    use super::*;

    /// A ClientHello for www.example.com.
    const HELLO: &[u8] = include_bytes!("../../../../tests/fuzz/seeds/client_hello/tls13");
    const CA: &str = "[ca]\ncertificate = \"/ca.pem\"\nkey = \"/ca.key\"\n";

    fn flow(first: First, answered: Option<Tls>) -> FlowRecord {
        let is_http = matches!(first, First::NotTls(_));
        FlowRecord {
            protocol: 6,
            src: [10, 0, 0, 1].into(),
            sport: Some(5000),
            dst: [192, 0, 2, 1].into(),
            dport: Some(443),
            initiator: Side::Client,
            packets: 4,
            kernel: Some((Verdict::Steer, Reason::Steered)),
            first: Some(first),
            known: Known {
                began: Duration::ZERO,
                met: true,
                application: is_http.then_some("http"),
                http_host: None,
                answered: answered.map(|tls| Answered { tls, version: None }),
            },
            judged: None,
        }
    }

    fn hello(answered: Option<Tls>) -> FlowRecord {
        let mut reader = FirstReader::new(65_536);
        let Peek::Hello(hello) = reader.advance(HELLO) else {
            unreachable!("the seed is a hello");
        };
        flow(First::Hello(Box::new(hello)), answered)
    }

    #[test]
    fn what_becomes_of_a_flow_is_told_as_far_as_a_capture_shows() {
        let http = || flow(First::NotTls(NotTls::NotTls), None);
        let rule = |body: &str| format!("[[rule]]\nname = \"r\"\n{body}\n");
        let inspect = rule("action = \"inspect\"");
        let warn = rule("action = { warn = \"1h\" }");
        let path = rule("when = { path = \"/a\" }\naction = \"block\"");
        let invalid = rule("when = { certificate = \"invalid\" }\naction = \"block\"");
        let negotiated = || hello(Some(Tls::Negotiated));
        let allow = "[policy]\ndefault = \"allow\"\ndefault_unidentified = \"allow\"\n";
        let by = |word| (word, Some("r"));
        for (case, config, flow, expected) in [
            (1, [CA, &inspect], negotiated(), by("intercept")),
            (2, ["", &inspect], negotiated(), by("block")),
            (3, ["", &inspect], http(), by("intercept")),
            (4, [CA, &warn], negotiated(), by("warn")),
            (5, ["", &warn], negotiated(), by("block")),
            (6, ["", &warn], http(), by("warn")),
            (7, [CA, &path], negotiated(), ("intercept", None)),
            (8, ["", &path], negotiated(), ("block", None)),
            (9, ["", &path], http(), ("intercept", None)),
            (10, ["", &invalid], negotiated(), ("probe", None)),
            (11, ["", &invalid], hello(None), ("undecided", None)),
            (12, ["", &invalid], http(), ("splice", None)),
        ] {
            let text = format!("[gateway]\nlan = [\"lan0\"]\n{allow}{}", config.concat());
            let config = Config::parse(&text, "test").unwrap();
            let judged = flow.judge(&config).unwrap();
            let found = (judged.will.name(), judged.rule.as_deref());
            assert_eq!(found, expected, "case {case}");
        }
        // Where every way is a block, no certificate has to be known.
        let text = format!("[gateway]\nlan = [\"lan0\"]\n[policy]\ndefault = \"block\"\n{invalid}");
        let config = Config::parse(&text, "test").unwrap();
        assert_eq!(negotiated().judge(&config).unwrap().will, Will::Block);
    }
}
