//! What is decided per packet, compiled into the tables of `sluice-abi`.
//!
//! [`Egress`] and [`Steer`] are the two sections of the configuration, typed. [`judge()`] says what
//! they mean, slowly and plainly; [`compile`] says the same as tables that the kernel programs read
//! in constant time. The order of judgement: [`Egress::rules`], the first that matches; steered
//! ports (TCP, outwards), and of those what the policy's rules refuse by addresses and port alone;
//! QUIC (UDP 443, outwards); the pass lists; the block lists; the default. An opening therefore
//! wins over a closed range around it.
//!
//! What the rules refuse with a reset, knowing nothing but a packet, is refused in the kernel by
//! tables that [`Policy::decide`] itself has filled, so that kernel and daemon cannot disagree. An
//! alert or a page is owed to a client that has said something, so that such flows are steered.

mod classes;
mod judge;
mod refused;
mod tables;

pub use classes::ClassPrefix;
pub use judge::judge;
pub use tables::Table;

use sluice_abi::{
    Entry, Marks, PolicyCell, Reason, Verdict,
    table::{Direction, MAX_CLASSES, MAX_TABLES},
};

use crate::{Policy, net::Net, port::PortRange, rule::RuleSet};
use classes::{Classes, MOST_NETS, Parts};
use refused::{Questions, Refusals};

/// The UDP port on which QUIC is looked for.
pub const QUIC_PORT: u16 = 443;

/// Nanoseconds after which a daemon that gave no sign of life counts as dead.
pub const HEARTBEAT_NS: u64 = 5_000_000_000;

/// What the kernel lets out and in.
#[derive(Clone, Debug)]
pub struct Egress {
    /// For every port or protocol that nothing names.
    pub default: EgressAction,
    /// TCP ports that are closed.
    pub block_tcp: Vec<PortRange>,
    /// UDP ports that are closed.
    pub block_udp: Vec<PortRange>,
    /// TCP ports that are open, also inside a closed range.
    pub pass_tcp: Vec<PortRange>,
    /// UDP ports that are open, also inside a closed range; QUIC's port follows `quic` instead.
    pub pass_udp: Vec<PortRange>,
    /// For QUIC on UDP 443.
    pub quic: EgressAction,
    /// Numbers of transport protocols that may pass.
    pub other_protocols: Vec<u8>,
    /// ICMP packets of one client in a second.
    pub icmp_per_second: u32,
    /// Established flows in all.
    pub flow_limit: u32,
    /// Established flows of one client.
    pub flow_limit_per_client: u32,
    /// Rules that come before the lists; the first that matches decides.
    pub rules: Vec<EgressRule>,
}

/// What the kernel does with a packet that begins a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EgressAction {
    /// Discard it without an answer.
    Drop,
    /// Let it pass.
    Pass,
    /// Discard it and tell the sender: TCP RST, or ICMP administratively prohibited.
    Reject,
}

impl EgressAction {
    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.verdict().name()
    }

    /// The same as a kernel verdict.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Drop => Verdict::Drop,
            Self::Pass => Verdict::Pass,
            Self::Reject => Verdict::Reject,
        }
    }
}

/// One rule of the egress section.
#[derive(Clone, Debug)]
pub struct EgressRule {
    /// The name.
    pub name: String,
    /// Which side begins the flow.
    pub direction: Direction,
    /// Client addresses; `None`: any.
    pub from: Option<Vec<Net>>,
    /// Addresses of the other side; `None`: any.
    pub to: Option<Vec<Net>>,
    /// What the rule speaks of.
    pub traffic: Traffic,
    /// What to do with it.
    pub action: EgressAction,
}

/// Ports and protocols; a rule that names none speaks of all.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// TCP ports of the side that did not begin the flow.
    pub tcp: Vec<PortRange>,
    /// UDP ports of the side that did not begin the flow.
    pub udp: Vec<PortRange>,
    /// Numbers of other transport protocols.
    pub protocols: Vec<u8>,
}

impl Traffic {
    /// Whether nothing is named, so that everything but ICMP and IGMP is meant.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty() && self.protocols.is_empty()
    }
}

/// The ports that are handed to the daemon.
#[derive(Clone, Debug, Default)]
pub struct Steer {
    /// TCP ports that speak TLS.
    pub tls: Vec<PortRange>,
    /// TCP ports that speak HTTP.
    pub http: Vec<PortRange>,
}

impl Steer {
    /// Whether a TCP port is steered.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.tls
            .iter()
            .chain(&self.http)
            .any(|range| range.contains(port))
    }
}

/// What a generation needs besides the two sections.
#[derive(Clone, Copy, Debug)]
pub struct CellSettings {
    /// Number of the policy, not 0.
    pub generation: u32,
    /// The firewall marks.
    pub marks: Marks,
    /// Whether steered flows are forwarded while there is no daemon.
    pub fail_open: bool,
    /// Whether TCP packets of no known flow are judged like a SYN.
    pub midstream_pass: bool,
    /// Port of the transparent listener.
    pub listener_port: u16,
}

/// The rules for flows that reach the daemon.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// As they are written.
    pub set: &'a RuleSet,
    /// The same, compiled.
    pub policy: &'a Policy,
}

/// Who refuses the steered flows that rules refuse by addresses and port alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refused {
    /// There are none.
    Nothing,
    /// The kernel.
    InKernel,
    /// The daemon, since what tells them apart does not fit the kernel's maps.
    ByDaemon(Overflow),
}

/// A generation as the kernel's maps hold it.
#[derive(Clone, Debug)]
pub struct KernelPolicy {
    /// Who refuses the steered flows that rules refuse by addresses and port alone.
    pub refused: Refused,
    /// What is neither per port nor per address.
    pub cell: PolicyCell,
    /// Prefixes of clients, longest prefix wins; class 0 is whatever no prefix names.
    pub clients: Vec<ClassPrefix>,
    /// Prefixes of the other side, likewise.
    pub remotes: Vec<ClassPrefix>,
    /// For every direction and pair of classes the index of its table.
    pub matrix: Vec<MatrixCell>,
    /// The tables, all different.
    pub tables: Vec<Table>,
    /// One bit for each TCP port that some table steers: bit `port % 64` of word `port / 64`.
    pub steered: Box<[u64; 1024]>,
}

/// Which table judges a direction and a pair of classes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MatrixCell {
    /// Which side begins the flow.
    pub direction: Direction,
    /// Class of the client.
    pub client: u32,
    /// Class of the other side.
    pub remote: u32,
    /// Index of the table.
    pub table: u32,
}

/// What does not fit the kernel's maps.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Overflow {
    /// Address lists that overlap in too many ways.
    #[error("{found} classes of {} addresses, and the kernel holds {most}", side.of())]
    Classes {
        /// Whose addresses.
        side: Side,
        /// How many classes they make.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// More addresses than the maps hold.
    #[error("{found} networks of {} addresses, and the kernel holds {most}", side.of())]
    Prefixes {
        /// Whose addresses.
        side: Side,
        /// How many networks the lists name.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// Lists that combine in too many ways.
    #[error("more port tables than the {most} that the kernel holds")]
    Tables {
        /// How many there may be.
        most: usize,
    },
    /// Lists that combine in more ways than can be decided while a policy is loaded.
    #[error("{found} combinations of addresses and ports, of which {most} can be decided")]
    Decisions {
        /// How many decisions it would take.
        found: usize,
        /// How many are made at most.
        most: usize,
    },
}

/// One side of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The client behind the LAN device.
    Client,
    /// The other side.
    Remote,
}

impl Side {
    const fn key(self) -> &'static str {
        match self {
            Self::Client => "from",
            Self::Remote => "to",
        }
    }

    const fn of(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Remote => "destination",
        }
    }

    fn list(self, rule: &EgressRule) -> Option<&[Net]> {
        match self {
            Self::Client => rule.from.as_deref(),
            Self::Remote => rule.to.as_deref(),
        }
    }
}

/// Why an egress section does not fit the kernel's maps.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Address lists that overlap in too many ways.
    #[error(
        "the `{key}` lists of the egress rules {} divide addresses into {found} classes, the kernel \
         holds {most}: use the same list in several rules, or merge rules",
        quoted(rules)
    )]
    Classes {
        /// `from` or `to`.
        key: &'static str,
        /// The rules with such a list.
        rules: Vec<String>,
        /// How many classes they make.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// More addresses than the maps hold.
    #[error(
        "the `{key}` lists of the egress rules {} hold {found} networks, the kernel holds {most}: \
         merge neighbouring networks",
        quoted(rules)
    )]
    Prefixes {
        /// `from` or `to`.
        key: &'static str,
        /// The rules with such a list.
        rules: Vec<String>,
        /// How many networks they name.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// Rules that combine in too many ways.
    #[error(
        "the egress rules {} combine into more than {most} different port tables: let rules that \
         share addresses share ports too, or merge rules",
        quoted(rules)
    )]
    Tables {
        /// The rules that depend on addresses.
        rules: Vec<String>,
        /// How many tables there may be.
        most: usize,
    },
}

impl KernelError {
    /// What does not fit, where it is the egress section alone that is compiled.
    fn of(overflow: Overflow, egress: &Egress) -> Self {
        let with = |is_meant: &dyn Fn(&EgressRule) -> bool| {
            let rules = egress.rules.iter().filter(|rule| is_meant(rule));
            rules.map(|rule| rule.name.clone()).collect::<Vec<_>>()
        };
        match overflow {
            Overflow::Classes { side, found, most } => Self::Classes {
                key: side.key(),
                rules: with(&|rule| side.list(rule).is_some()),
                found,
                most,
            },
            Overflow::Prefixes { side, found, most } => Self::Prefixes {
                key: side.key(),
                rules: with(&|rule| side.list(rule).is_some()),
                found,
                most,
            },
            Overflow::Tables { most } | Overflow::Decisions { most, .. } => Self::Tables {
                rules: with(&|rule| rule.from.is_some() || rule.to.is_some()),
                most,
            },
        }
    }
}

fn quoted(rules: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = rules
        .iter()
        .take(SHOWN)
        .map(|rule| format!("\"{rule}\""))
        .collect::<Vec<_>>();
    if let Some(more) = rules.len().checked_sub(SHOWN).filter(|&more| more > 0) {
        text.push(format!("and {more} more"));
    }
    text.join(", ")
}

/// Compiles the two sections into the kernel's tables, and with them what the rules refuse by
/// addresses and port alone; where that does not fit, [`KernelPolicy::refused`] says so, and the
/// daemon does it.
///
/// # Errors
///
/// [`KernelError`], where the address lists of the egress section or their combinations exceed what
/// the maps hold.
pub fn compile(
    egress: &Egress,
    steer: &Steer,
    rules: Option<Rules<'_>>,
    settings: &CellSettings,
) -> Result<KernelPolicy, KernelError> {
    let questions = rules.and_then(|rules| Questions::new(rules.set, rules.policy, steer));
    let with_rules = questions
        .as_ref()
        .map(|questions| classify(egress, steer, Some(questions)));
    let (refused, classified) = match with_rules {
        Some(Ok(classified)) if classified.refuses => (Refused::InKernel, classified),
        Some(Err(overflow)) => {
            let alone = classify(egress, steer, None);
            let alone = alone.map_err(|overflow| KernelError::of(overflow, egress))?;
            (Refused::ByDaemon(overflow), alone)
        }
        Some(Ok(classified)) => (Refused::Nothing, classified),
        None => {
            let alone = classify(egress, steer, None);
            let alone = alone.map_err(|overflow| KernelError::of(overflow, egress))?;
            (Refused::Nothing, alone)
        }
    };
    let Classified {
        clients,
        remotes,
        matrix,
        tables,
        ..
    } = classified;
    let mut steered = Box::new([0u64; 1024]);
    for table in &tables {
        for (bits, entries) in steered.iter_mut().zip(table.tcp.chunks(64)) {
            for (bit, entry) in entries.iter().enumerate() {
                *bits |= u64::from(entry.verdict() == Verdict::Steer) << bit;
            }
        }
    }
    let cell = cell(egress, settings, &clients.prefixes, &remotes.prefixes);
    let (clients, remotes) = (clients.prefixes, remotes.prefixes);
    Ok(KernelPolicy {
        refused,
        cell,
        clients,
        remotes,
        matrix,
        tables,
        steered,
    })
}

/// Addresses in classes, and the tables of their pairs.
struct Classified {
    clients: Classes,
    remotes: Classes,
    matrix: Vec<MatrixCell>,
    tables: Vec<Table>,
    /// Whether the rules refuse anything.
    refuses: bool,
}

fn classify(
    egress: &Egress,
    steer: &Steer,
    questions: Option<&Questions<'_>>,
) -> Result<Classified, Overflow> {
    let parts = |side: Side, asked: &[(Net, usize)]| {
        // Numbers of egress rules come first, those of conditions behind them.
        let listed = egress.rules.iter().enumerate().flat_map(|(index, rule)| {
            let nets = side.list(rule).unwrap_or_default();
            nets.iter().map(move |&net| (net, index))
        });
        let asked = asked
            .iter()
            .map(|&(net, number)| (net, egress.rules.len() + number));
        Parts::new(listed.chain(asked)).map_err(|found| Overflow::Prefixes {
            side,
            found,
            most: MOST_NETS,
        })
    };
    let (asked_clients, asked_remotes) = match questions {
        Some(questions) => (questions.clients.as_slice(), questions.remotes.as_slice()),
        None => Default::default(),
    };
    let from = parts(Side::Client, asked_clients)?;
    let to = parts(Side::Remote, asked_remotes)?;
    let refusals = match questions {
        Some(questions) => Refusals::ask(questions, &from, &to)?,
        None => Refusals::none(&from, &to),
    };
    let listed = |part: &classes::Part| -> Vec<usize> {
        let lists = part.lists.iter().copied();
        lists
            .take_while(|&list| list < egress.rules.len())
            .collect()
    };
    let clients = from.classes(|at, part| (listed(part), refusals.of_client(at)));
    let remotes = to.classes(|at, part| (listed(part), refusals.of_remote(at)));
    for (side, classes) in [(Side::Client, &clients), (Side::Remote, &remotes)] {
        let (found, most) = (classes.parts.len(), MAX_CLASSES as usize);
        if found > most {
            return Err(Overflow::Classes { side, found, most });
        }
    }
    let (matrix, tables) =
        tables::fill(egress, steer, &refusals, (&from, &clients), (&to, &remotes)).ok_or(
            Overflow::Tables {
                most: MAX_TABLES as usize,
            },
        )?;
    Ok(Classified {
        clients,
        remotes,
        matrix,
        tables,
        refuses: refusals.ways.len() > 1,
    })
}

fn cell(
    egress: &Egress,
    settings: &CellSettings,
    clients: &[ClassPrefix],
    remotes: &[ClassPrefix],
) -> PolicyCell {
    let flags = [
        (!clients.is_empty(), PolicyCell::FLAG_CLIENT_CLASSES),
        (!remotes.is_empty(), PolicyCell::FLAG_REMOTE_CLASSES),
        (settings.midstream_pass, PolicyCell::FLAG_MIDSTREAM_PASS),
        (settings.fail_open, PolicyCell::FLAG_FAIL_OPEN),
    ];
    PolicyCell {
        generation: settings.generation,
        flags: flags
            .iter()
            .map(|&(set, flag)| if set { flag } else { 0 })
            .sum(),
        mark_mask: settings.marks.mask,
        mark_steer: settings.marks.steer,
        mark_own: settings.marks.own,
        flow_limit_per_client: egress.flow_limit_per_client,
        flow_limit: egress.flow_limit,
        icmp_interval: 1_000_000_000 / u64::from(egress.icmp_per_second.max(1)),
        heartbeat_ns: HEARTBEAT_NS,
        listener_port: settings.listener_port.to_be(),
        native_udp: native_udp(egress),
        ..PolicyCell::default()
    }
}

/// What becomes of a datagram on QUIC's port that is not QUIC: it is native UDP, which a closed
/// list stands for, or else the default.
fn native_udp(egress: &Egress) -> Entry {
    let verdict = if egress.block_udp.is_empty() {
        egress.default.verdict()
    } else {
        judge::closed(egress)
    };
    Entry::new(verdict, Reason::NotQuic)
}
