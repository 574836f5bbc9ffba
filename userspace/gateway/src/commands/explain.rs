//! `sluice explain`.

use std::{
    fs::File,
    io::{self, BufReader, Write as _},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use sluice_policy::{NotNegotiated, Scratch, UrlParts};

use super::replay::Sides;
use crate::{
    config::Config,
    explain::{
        self, Answer, Given, capture, concluded,
        given::{Address, Field, Fields, Text, Texts, Time},
        text,
    },
    identity::whois::Whois,
};

/// Arguments of `sluice explain`.
#[derive(clap::Args)]
#[command(
    after_help = "What is not named and belongs to the stage, or to an earlier one, is absent. \
Without --stage it is the deepest stage of which something is named; --host stands for a genuine \
ClientHello unless --tls or --application says something else, --tls-version-chosen and --inner for one that \
an origin agreed to, and --url for a request of such a flow. Who the client is says --user, else the daemon of the configuration where one answers, \
else the configuration; the answer to --client tells which of them, as `sluice whois` does.\n\n\
With --facts every line is one flow: a JSON object of facts by name, such as\n\
{\"client\":\"10.20.4.7\",\"host\":\"www.example.com\",\"tls\":\"hello\",\"stage\":\"hello\"}\n\n\
With --capture the facts are those of a flow of packets, as `sluice replay` reads them: whether the \
kernel programs hand it to the daemon, ends and time of its first packet, what the client sent first, \
and what the origin answered. Needs root.\n\n\
Exit status: 0 answered, decided or not; 2 the configuration, a fact or the capture cannot be \
understood, or there is no such flow.\n\n\
Examples:\n  \
sluice explain --config sluice.toml --client 10.20.4.7 --host www.example.com\n  \
sluice explain --config sluice.toml --url https://mail.example.com/upload --group staff\n  \
sluice explain --config sluice.toml --tls sslv2-hello --json\n  \
sluice explain --config sluice.toml --host www.example.com --inner none\n  \
sluice explain --config sluice.toml --facts flows.jsonl --json\n  \
sluice explain --config sluice.toml --capture skype.pcap --flow 12"
)]
pub struct Args {
    /// The configuration whose policy is asked
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Facts of many flows, one JSON object a line; "-": standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = NAMED)]
    facts: Option<PathBuf>,
    /// Packets of a flow, pcap or pcapng; lists the flows where there are several
    #[arg(long, value_name = "FILE", conflicts_with_all = NAMED, conflicts_with = "facts")]
    capture: Option<PathBuf>,
    /// The number of the capture's flow that is explained, from 1, in the order of first packets
    #[arg(long = "flow", value_name = "NUMBER", requires = "capture")]
    number: Option<usize>,
    #[command(flatten)]
    sides: Sides,
    /// Ask no daemon who the client is, but the configuration alone
    #[arg(long)]
    offline: bool,
    /// One JSON object a flow
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flow: Flow,
}

/// Arguments that `--facts` and `--capture` replace.
const NAMED: [&str; 32] = [
    "client",
    "user",
    "group",
    "listener",
    "connect_host",
    "connect_port",
    "connect_user_agent",
    "host",
    "host_is_ip",
    "host_mismatch",
    "destination",
    "port",
    "tls",
    "tls_version",
    "tls_version_chosen",
    "alpn",
    "ja4",
    "ech",
    "application",
    "certificate",
    "issuer",
    "client_certificate",
    "inner",
    "inspected",
    "url",
    "method",
    "header",
    "user_agent",
    "content_type",
    "size",
    "time",
    "stage",
];

/// One flow.
#[derive(clap::Args)]
struct Flow {
    /// The client's address
    #[arg(long, value_name = "ADDR")]
    client: Option<IpAddr>,
    /// Who the client is [default: whom the configuration knows at the address]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A group that the client is in, besides those of the configuration; repeatable
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// "transparent", or the name of a proxy listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The name or address of a CONNECT
    #[arg(long, value_name = "HOST")]
    connect_host: Option<String>,
    /// The port of a CONNECT
    #[arg(long, value_name = "PORT")]
    connect_port: Option<u16>,
    /// The User-Agent of a CONNECT
    #[arg(long, value_name = "TEXT")]
    connect_user_agent: Option<String>,
    /// The server name
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Whether the client asked for an address instead of a name
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    host_is_ip: Option<bool>,
    /// Whether CONNECT and hello name different servers
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    host_mismatch: Option<bool>,
    /// The address that the client dialled
    #[arg(long, visible_alias = "dst", value_name = "ADDR")]
    destination: Option<IpAddr>,
    /// The port that the client dialled
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// "hello", "negotiated", or why TLS is not negotiated, such as "not-tls"
    #[arg(long, value_name = "STATE")]
    tls: Option<String>,
    /// A version that the hello offers, such as "1.2"; repeatable
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    tls_version: Vec<String>,
    /// The version that the origin chose, such as "1.3"
    #[arg(long, value_name = "VERSION")]
    tls_version_chosen: Option<String>,
    /// An application protocol that the hello offers; repeatable
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    alpn: Vec<String>,
    /// The fingerprint of the hello
    #[arg(long, value_name = "TEXT")]
    ja4: Option<String>,
    /// Whether the hello offers Encrypted ClientHello
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    ech: Option<bool>,
    /// What first bytes that are not TLS are, such as "http"
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// What the origin's certificate is, such as "valid" or "expired"; repeatable
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    certificate: Vec<String>,
    /// Who issued the origin's certificate
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// Whether the origin asks for a client certificate
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    client_certificate: Option<bool>,
    /// What the client speaks inside TLS: "http", "websocket", an application such as "ssh", or
    /// "none" for what is not recognised [default: "http" where something of a request is named]
    #[arg(long, value_name = "NAME")]
    inner: Option<String>,
    /// Whether the request was read by decrypting
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    inspected: Option<bool>,
    /// The URL of a request
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The method of a request
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// A header field of a request, as "name: value"; repeatable
    #[arg(long, value_name = "FIELD", value_parser = header)]
    header: Vec<(String, String)>,
    /// The User-Agent of a request
    #[arg(long, value_name = "TEXT")]
    user_agent: Option<String>,
    /// The media type of a request's body
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The length of a request's body in bytes
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
    /// When the flow was opened, such as "2026-03-02T10:00:00Z", or seconds since 1970
    #[arg(long, value_name = "TIME")]
    time: Option<Time>,
    /// How deep one has looked: packet, open, hello, server_hello, certificate or request
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("expected a name and a value, such as \"accept: text/html\"")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

impl Flow {
    fn given(&self) -> Given<'_> {
        let mut given = Given {
            stage: named(&self.stage),
            alpn: several(&self.alpn),
            application: named(&self.application),
            certificate: several(&self.certificate),
            client: self.client.map(Address).into(),
            client_certificate: self.client_certificate.into(),
            connect_host: named(&self.connect_host),
            connect_port: self.connect_port.into(),
            connect_user_agent: named(&self.connect_user_agent),
            content_type: named(&self.content_type),
            destination: self.destination.map(Address).into(),
            ech: self.ech.into(),
            groups: several(&self.group),
            headers: Field::Unnamed,
            host: named(&self.host),
            host_is_ip: self.host_is_ip.into(),
            host_mismatch: self.host_mismatch.into(),
            inner: named(&self.inner),
            inspected: self.inspected.into(),
            issuer: named(&self.issuer),
            ja4: named(&self.ja4),
            listener: named(&self.listener),
            method: named(&self.method),
            port: self.port.into(),
            size: self.size.into(),
            time: self.time.into(),
            tls: named(&self.tls),
            tls_version: several(&self.tls_version),
            tls_version_chosen: named(&self.tls_version_chosen),
            url: named(&self.url),
            user: named(&self.user),
            user_agent: named(&self.user_agent),
        };
        if !self.header.is_empty() {
            let fields = self.header.iter();
            given.headers = Field::Is(Fields(
                fields
                    .map(|(name, value)| (borrowed(name), borrowed(value)))
                    .collect(),
            ));
        }
        let agreed = given.tls_version_chosen.is_named() || given.inner.is_named();
        let mut state = if agreed { "negotiated" } else { "hello" };
        if let Some(url) = self.url.as_deref().filter(|url| url.contains("://")) {
            let parts = UrlParts::split(url);
            if !given.host.is_named() {
                given.host = Field::Is(borrowed(parts.host));
            }
            if !given.port.is_named() {
                given.port = parts.effective_port().into();
            }
            if parts.scheme.eq_ignore_ascii_case("http") && !given.tls.is_named() {
                if !given.application.is_named() {
                    given.application = Field::Is(borrowed("http"));
                }
            } else {
                state = "negotiated";
            }
        }
        if given.application.is_named() {
            state = NotNegotiated::NotTls.name();
        }
        let implied = given.host.is_named() || given.application.is_named() || agreed;
        if !given.tls.is_named() && implied {
            given.tls = Field::Is(borrowed(state));
        }
        given
    }
}

fn borrowed(text: &str) -> Text<'_> {
    Text(text.into())
}

fn several(texts: &[String]) -> Field<Texts<'_>> {
    let named = || Texts(texts.iter().map(|text| borrowed(text)).collect());
    (!texts.is_empty()).then(named).into()
}

fn named(text: &Option<String>) -> Field<Text<'_>> {
    text.as_deref().map(borrowed).into()
}

/// An answer, and who the client is where its address was given alone.
#[derive(serde::Serialize)]
struct Known<'a> {
    #[serde(flatten)]
    answer: Answer<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'a Whois>,
}

/// Runs the command: exit code 0 where every flow was answered, 2 where something cannot be
/// understood.
///
/// # Errors
///
/// None: they are told, and give 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    Ok(concluded(answer(args).map(|()| ExitCode::SUCCESS)))
}

fn answer(args: Args) -> anyhow::Result<()> {
    let Args {
        config,
        facts,
        capture,
        number,
        sides,
        offline,
        json,
        flow,
    } = args;
    anyhow::ensure!(
        capture.is_some() || sides.are_unnamed(),
        "--lan and --gateway tell the sides of a capture: name it by --capture"
    );
    let file = config;
    let config = Config::load(&file)?;
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    if let Some(path) = facts {
        let name = path.display().to_string();
        let mut source: Box<dyn io::BufRead> = if name == "-" {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(&path).with_context(|| format!("{name}: cannot be read"))?;
            Box::new(BufReader::with_capacity(1 << 16, file))
        };
        let done = explain::lines(&config.policy, &mut source, &name, |facts, answer| {
            if json {
                answer.write(&mut out)
            } else {
                out.write_all(text::tell(&config, facts, true).as_bytes())?;
                out.write_all(b"\n")
            }
        });
        // The answers up to a mistake are worth having.
        out.flush()?;
        return done;
    }
    if let Some(file) = capture {
        let flows = capture::flows(&file, &config, &sides.into())?;
        let chosen = capture::chosen(&file, &flows, number)?;
        match chosen.and_then(|number| Some((number, flows.get(number - 1)?))) {
            Some((number, flow)) => capture::explain(&config, flow, number, json, &mut out)?,
            None => capture::list(&flows, json, &mut out)?,
        }
        out.flush()?;
        return Ok(());
    }
    let who = flow.client.filter(|_| flow.user.is_none());
    let who = who
        .map(|client| {
            if offline {
                return Ok(Whois::configured(&config, client));
            }
            Whois::find(&config, client).map(|(whois, _)| whois)
        })
        .transpose()?;
    let mut given = flow.given();
    if let Some(who) = &who {
        who.name(&mut given);
    }
    let prepared = given
        .prepare()
        .map_err(|bad| anyhow::anyhow!("--{}: {}", bad.key.replace('_', "-"), bad.message))?;
    let facts = prepared.facts(&config.policy);
    if json {
        let answer = Answer::of(&config.policy, &facts, &mut Scratch::default());
        let who = who.as_ref();
        serde_json::to_writer(&mut out, &Known { answer, who }).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    } else {
        if let Some(who) = &who {
            writeln!(out, "{}", who.text(Some(&file)))?;
        }
        let whole = flow.stage.is_some();
        out.write_all(text::tell(&config, &facts, whole).as_bytes())?;
    }
    out.flush()?;
    Ok(())
}
