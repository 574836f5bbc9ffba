//! What is measured, and when a figure counts.

use std::{fmt, str::FromStr};

use anyhow::{Error, Result, bail};
use clap::ValueEnum;
use serde::{Serialize, Serializer};

use crate::{load::result::Outcome, proc};

/// A way from the client to the origin.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Plain IP forwarding: what the others are measured against.
    Direct,
    /// Plain IP forwarding behind sluice's programs, on a port that passes.
    Passed,
    /// Steered to sluice, peeked at and spliced.
    Sluice,
    /// HAProxy, splicing whatever can be, before an origin it is told; the client dials it.
    Haproxy,
    /// Steered to sluice, decrypted on both sides; compared with plain forwarding of TLS.
    Intercept,
    /// HAProxy, which ends TLS on both sides with a certificate that lies ready, before an origin it
    /// is told; the client dials it.
    HaproxyIntercept,
    /// Through a tunnel of sluice's explicit proxy, by CONNECT.
    Proxy,
    /// Through a tunnel of Tinyproxy's.
    Tinyproxy,
    /// Through a tunnel of Squid's.
    SquidProxy,
}

impl Way {
    /// Whether the client asks for a tunnel first.
    #[must_use]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Proxy | Self::Tinyproxy | Self::SquidProxy)
    }

    /// The ways of others that a way is compared with under a kind of load.
    #[must_use]
    pub const fn peers(self, case: Case) -> &'static [Self] {
        match self {
            Self::Proxy => &[Self::Tinyproxy, Self::SquidProxy],
            Self::Tinyproxy => &[Self::SquidProxy],
            Self::SquidProxy => &[Self::Tinyproxy],
            Self::Haproxy | Self::HaproxyIntercept => &[],
            _ if case.is_tls() => &[Self::HaproxyIntercept],
            _ => &[Self::Haproxy],
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Passed => "passed",
            Self::Sluice => "sluice",
            Self::Haproxy => "haproxy",
            Self::Intercept => "intercept",
            Self::HaproxyIntercept => "haproxy-intercept",
            Self::Proxy => "proxy",
            Self::Tinyproxy => "tinyproxy",
            Self::SquidProxy => "squid-proxy",
        })
    }
}

/// One kind of load.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Case {
    /// So many downloads at once.
    Bulk(usize),
    /// So many uploads at once.
    Upload(usize),
    /// Short flows, so many at once.
    Short(usize),
    /// Short flows, one after another.
    Setup,
    /// So many flows that say nothing.
    Idle(usize),
    /// So many downloads over TLS at once.
    TlsBulk(usize),
    /// New TLS connections, so many at once.
    TlsShort(usize),
    /// New TLS connections, so many at once, each for another name.
    TlsNames(usize),
    /// New TLS connections, one after another.
    TlsSetup,
}

impl FromStr for Case {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let kind = text.get(..text.len() - digits.len()).unwrap_or_default();
        let count = if digits.is_empty() {
            1
        } else {
            digits.parse()?
        };
        Ok(match kind {
            "bulk" => Self::Bulk(count),
            "upload" => Self::Upload(count),
            "short" => Self::Short(count),
            "setup" => Self::Setup,
            "idle" => Self::Idle(count),
            "tlsbulk" => Self::TlsBulk(count),
            "tls" => Self::TlsShort(count),
            "tlsnames" => Self::TlsNames(count),
            "tlssetup" => Self::TlsSetup,
            _ => bail!(
                "expected bulkN, uploadN, shortN, setup, idleN, tlsbulkN, tlsN, tlsnamesN or \
                 tlssetup"
            ),
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bulk(count) => write!(f, "bulk{count}"),
            Self::Upload(count) => write!(f, "upload{count}"),
            Self::Short(count) => write!(f, "short{count}"),
            Self::Setup => f.write_str("setup"),
            Self::Idle(count) => write!(f, "idle{count}"),
            Self::TlsBulk(count) => write!(f, "tlsbulk{count}"),
            Self::TlsShort(count) => write!(f, "tls{count}"),
            Self::TlsNames(count) => write!(f, "tlsnames{count}"),
            Self::TlsSetup => f.write_str("tlssetup"),
        }
    }
}

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Case {
    /// Whether less of its figure is better.
    #[must_use]
    pub const fn is_time(self) -> bool {
        matches!(self, Self::Setup | Self::TlsSetup)
    }

    /// The words that tell the load tool.
    #[must_use]
    pub fn arguments(self, to: &str, seconds: f64) -> Vec<String> {
        let words = match self {
            Self::Bulk(count) => format!("bulk {to} --seconds {seconds} --flows {count}"),
            Self::Upload(count) => {
                format!("bulk {to} --seconds {seconds} --upload --flows {count}")
            }
            Self::Short(count) => format!("short {to} --seconds {seconds} --concurrent {count}"),
            Self::Setup => format!("setup {to} --seconds {seconds}"),
            Self::Idle(count) => format!("idle {to} --seconds 1 --flows {count}"),
            Self::TlsBulk(count) => {
                format!("tls-bulk {to} --seconds {seconds} --concurrent {count}")
            }
            Self::TlsShort(count) => {
                format!("tls-short {to} --seconds {seconds} --concurrent {count}")
            }
            Self::TlsNames(count) => {
                format!("tls-short {to} --seconds {seconds} --fresh --concurrent {count}")
            }
            Self::TlsSetup => format!("tls-setup {to} --seconds {seconds}"),
        };
        words.split(' ').map(str::to_owned).collect()
    }

    /// Whether its flows are genuine TLS.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(
            self,
            Self::TlsBulk(_) | Self::TlsShort(_) | Self::TlsNames(_) | Self::TlsSetup
        )
    }

    /// Whether a way has anything to show.
    #[must_use]
    pub const fn fits(self, way: Way) -> bool {
        match self {
            Self::Idle(_) => matches!(way, Way::Sluice | Way::Haproxy) || way.is_tunnel(),
            // It makes no leaves.
            Self::TlsNames(_) => matches!(way, Way::Direct | Way::Intercept),
            _ if self.is_tls() => {
                matches!(way, Way::Direct | Way::Intercept | Way::HaproxyIntercept)
            }
            _ => !matches!(way, Way::Intercept | Way::HaproxyIntercept),
        }
    }
}

/// When a run counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// The share of the machine that processes outside the comparison may use, 0 to 1.
    pub foreign: f64,
    /// The share of the machine that plain forwarding must use under bulk load, 0 to 1: below it
    /// the ends are the limit, and a slow gateway would look as good as a fast one.
    pub busy: f64,
}

impl Limits {
    /// Why a run does not count, if it does not.
    #[must_use]
    pub fn objection(&self, way: Way, outcome: &Outcome) -> Option<String> {
        let (cpu, failed) = match outcome {
            Outcome::Bulk(bulk) => (&bulk.cpu, bulk.failed),
            Outcome::Short(short) => (&short.cpu, short.failed),
            Outcome::Setup(setup) => (&setup.cpu, 0),
            Outcome::Idle(_) => return None,
        };
        if failed > 0 {
            return Some(format!("{failed} flows failed"));
        }
        if cpu.foreign_share > self.foreign {
            return Some(format!(
                "other processes used {:.0} % of the machine",
                cpu.foreign_share * 100.0
            ));
        }
        let Outcome::Bulk(bulk) = outcome else {
            return None;
        };
        if way != Way::Direct {
            return None;
        }
        // A single flow has one sender: it can fill one core and never two.
        let busiest = cpu
            .processes
            .iter()
            .map(|process| process.seconds / bulk.seconds)
            .fold(0.0, f64::max);
        let busy = if bulk.flows < proc::cores() {
            busiest
        } else {
            cpu.busy_share
        };
        (busy < self.busy).then(|| {
            format!(
                "plain forwarding kept its cores only {:.0} % busy",
                busy * 100.0
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{load::result::Bulk, proc::Cpu};

    #[test]
    fn a_case_reads_as_it_prints() {
        for text in [
            "bulk16",
            "upload4",
            "setup",
            "idle2000",
            "tls32",
            "tlsnames32",
            "tlssetup",
        ] {
            assert_eq!(text.parse::<Case>().unwrap().to_string(), text);
        }
        assert_eq!("bulk".parse::<Case>().unwrap(), Case::Bulk(1));
        assert!("splice1".parse::<Case>().is_err());
    }

    #[test]
    fn only_trustworthy_runs_count() {
        let limits = Limits {
            foreign: 0.05,
            busy: 0.95,
        };
        let run = |busy_share: f64, foreign_share: f64, failed: u64| {
            Outcome::Bulk(Bulk {
                flows: 64,
                seconds: 1.0,
                bytes: 1,
                gbit_per_second: 1.0,
                failed,
                cpu: Cpu {
                    busy_seconds: 1.0,
                    own_seconds: 1.0,
                    busy_share,
                    foreign_share,
                    processes: Vec::new(),
                },
            })
        };
        assert_eq!(limits.objection(Way::Direct, &run(0.99, 0.01, 0)), None);
        assert!(limits.objection(Way::Direct, &run(0.5, 0.01, 0)).is_some());
        assert_eq!(limits.objection(Way::Sluice, &run(0.5, 0.01, 0)), None);
        assert!(limits.objection(Way::Sluice, &run(0.99, 0.2, 0)).is_some());
        assert!(limits.objection(Way::Sluice, &run(0.99, 0.0, 3)).is_some());
    }
}
