//! The words that tell the load tool what to do.

use std::{
    io::{Write as _, stdout},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{
    bulk::{self, Taking},
    idle,
    result::Outcome,
    route::Route,
    short, sink,
    socket::Source,
    tls,
    wire::Wish,
};
use crate::proc::{Watched, cores};

/// Kinds of load, and the sink.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Answer every kind of load; prints "ready" when it listens, and serves until it is ended.
    Sink {
        /// Addresses to listen on.
        #[arg(required = true)]
        listen: Vec<SocketAddr>,
        /// Threads that accept; 0: one a core.
        #[arg(long, default_value_t = 0)]
        workers: usize,
    },
    /// Long flows at full speed.
    Bulk {
        /// What every kind of load needs.
        #[command(flatten)]
        common: Common,
        /// Flows at once.
        #[arg(long, default_value_t = 1)]
        flows: usize,
        /// Send to the sink instead of receiving from it.
        #[arg(long, conflicts_with = "read")]
        upload: bool,
        /// Copy what arrives out of the kernel, as applications do, instead of discarding it there.
        #[arg(long)]
        read: bool,
    },
    /// Short flows, many at once: connect, hello, answer of 1 KiB, close.
    Short {
        /// What every kind of load needs.
        #[command(flatten)]
        common: Common,
        /// Flows at once.
        #[arg(long, default_value_t = 64)]
        concurrent: usize,
        /// Threads that carry them; 0: one a core.
        #[arg(long, default_value_t = 0)]
        threads: usize,
    },
    /// Short flows, one after another: the time that each takes.
    Setup {
        /// What every kind of load needs.
        #[command(flatten)]
        common: Common,
    },
    /// Answer requests inside TLS; prints "ready" when it listens, and serves until it is ended.
    TlsSink {
        /// Address to listen on.
        listen: SocketAddr,
        /// The certificate, PEM.
        #[arg(long)]
        certificate: PathBuf,
        /// Its key, PEM.
        #[arg(long)]
        key: PathBuf,
    },
    /// New TLS connections, many at once: handshake, a request, an answer of 1 KiB, close.
    TlsShort {
        /// What every kind of load needs.
        #[command(flatten)]
        common: Common,
        /// What every client of TLS needs.
        #[command(flatten)]
        tls: Tls,
        /// Ask for a name that no connection before asked for.
        #[arg(long)]
        fresh: bool,
    },
    /// New TLS connections, one after another: the time that each takes.
    TlsSetup {
        /// What every kind of load needs.
        #[command(flatten)]
        common: Common,
        /// What every client of TLS needs.
        #[command(flatten)]
        tls: Tls,
    },
    /// Downloads over TLS at full speed.
    TlsBulk {
        /// What every kind of load needs.
        #[command(flatten)]
        common: Common,
        /// What every client of TLS needs.
        #[command(flatten)]
        tls: Tls,
    },
    /// Flows that say nothing: what the watched processes hold for them.
    Idle {
        /// What every kind of load needs.
        #[command(flatten)]
        common: Common,
        /// Flows at once.
        #[arg(long, default_value_t = 1000)]
        flows: usize,
    },
}

/// What every kind of load needs.
#[derive(Args, Debug)]
pub struct Common {
    /// Where the flows go.
    to: SocketAddr,
    /// The explicit proxy that is asked for a tunnel there, by CONNECT.
    #[arg(long)]
    via: Option<SocketAddr>,
    /// Length of the measurement in seconds; for idle flows, how long to wait before looking.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Time before the measurement in seconds.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// The first address that flows come from, each from a port of its own; more addresses behind
    /// it are used as needed. Default: what the kernel chooses.
    #[arg(long)]
    from: Option<Ipv4Addr>,
    /// A process whose costs belong to the result; repeatable. This one is always watched, as
    /// "client".
    #[arg(long, value_name = "NAME=PID")]
    watch: Vec<Watched>,
}

/// What every client of TLS needs.
#[derive(Args, Debug)]
pub struct Tls {
    /// The root to trust, PEM.
    #[arg(long)]
    root: PathBuf,
    /// Connections at once.
    #[arg(long, default_value_t = 1)]
    concurrent: usize,
}

impl Common {
    fn tls(&self, tls: Tls, fresh: bool) -> Result<tls::Plan> {
        Ok(tls::Plan {
            to: self.to,
            source: Source::new(self.from),
            root: tls.root,
            concurrent: tls.concurrent,
            fresh,
            warm_up: Duration::try_from_secs_f64(self.warm_up)?,
            length: Duration::try_from_secs_f64(self.seconds)?,
        })
    }

    const fn route(&self) -> Route {
        Route {
            to: self.to,
            via: self.via,
        }
    }

    fn watched(&self) -> Vec<Watched> {
        let mut all = vec![Watched {
            name: "client".to_owned(),
            pid: std::process::id(),
        }];
        all.extend(self.watch.iter().cloned());
        all
    }

    fn short(&self, concurrent: usize, threads: usize) -> Result<short::Plan> {
        Ok(short::Plan {
            route: self.route(),
            source: Source::new(self.from).into(),
            concurrent,
            threads: if threads == 0 { cores() } else { threads },
            warm_up: Duration::try_from_secs_f64(self.warm_up)?,
            length: Duration::try_from_secs_f64(self.seconds)?,
        })
    }
}

impl Verb {
    /// Makes the load and prints one line of JSON; the sink prints "ready" and stays.
    ///
    /// # Errors
    ///
    /// The load could not be made, or nobody reads what was found.
    pub fn run(self) -> Result<()> {
        let outcome = match self {
            Self::Sink { listen, workers } => {
                let workers = if workers == 0 { cores() } else { workers };
                return sink::serve(&listen, workers, || {
                    // Who started this waits for the line, or does not care.
                    drop(writeln!(stdout(), "ready"));
                });
            }
            Self::TlsSink {
                listen,
                certificate,
                key,
            } => {
                return tls::serve(listen, &certificate, &key, || {
                    drop(writeln!(stdout(), "ready"));
                });
            }
            Self::TlsShort { common, tls, fresh } => {
                Outcome::Short(tls::short(common.tls(tls, fresh)?, &common.watched())?)
            }
            Self::TlsSetup { common, tls } => {
                Outcome::Setup(tls::setup(common.tls(tls, false)?, &common.watched())?)
            }
            Self::TlsBulk { common, tls } => {
                Outcome::Bulk(tls::bulk(common.tls(tls, false)?, &common.watched())?)
            }
            Self::Bulk {
                common,
                flows,
                upload,
                read,
            } => {
                let plan = bulk::Plan {
                    route: common.route(),
                    source: Source::new(common.from),
                    flows,
                    wish: if upload { Wish::Upload } else { Wish::Download },
                    taking: if read { Taking::Read } else { Taking::Discard },
                    warm_up: Duration::try_from_secs_f64(common.warm_up)?,
                    length: Duration::try_from_secs_f64(common.seconds)?,
                };
                Outcome::Bulk(bulk::run(&plan, &common.watched())?)
            }
            Self::Short {
                common,
                concurrent,
                threads,
            } => {
                let plan = common.short(concurrent, threads)?;
                Outcome::Short(short::run(&plan, &common.watched())?)
            }
            Self::Setup { common } => {
                Outcome::Setup(short::setup(&common.short(1, 1)?, &common.watched())?)
            }
            Self::Idle { common, flows } => {
                let settle = Duration::try_from_secs_f64(common.seconds)?;
                Outcome::Idle(idle::run(
                    &common.route(),
                    &Source::new(common.from),
                    flows,
                    settle,
                    &common.watched(),
                )?)
            }
        };
        let mut line = serde_json::to_vec(&outcome)?;
        line.push(b'\n');
        stdout().write_all(&line)?;
        Ok(())
    }
}
