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

use crate::{
    config::Config,
    explain::{
        self, Answer, Given, concluded,
        given::{Address, Field, Fields, Text, Texts, Time},
        text,
    },
};

/// Arguments of `sluice explain`.
#[derive(clap::Args)]
#[command(
    after_help = "What is not named and belongs to the stage, or to an earlier one, is absent. \
Without --stage it is the deepest stage of which something is named; --host stands for a genuine \
ClientHello unless --tls or --application says something else, and --url for a request of such a \
flow. Who the client is comes from the configuration, unless --user says it.\n\n\
With --facts every line is one flow: a JSON object of facts by name, such as\n\
{\"client\":\"10.20.4.7\",\"host\":\"www.example.com\",\"tls\":\"hello\",\"stage\":\"hello\"}\n\n\
Exit status: 0 answered, decided or not; 2 the configuration or a fact cannot be understood.\n\n\
Examples:\n  \
sluice explain --config sluice.toml --client 10.20.4.7 --host www.example.com\n  \
sluice explain --config sluice.toml --url https://mail.example.com/upload --group staff\n  \
sluice explain --config sluice.toml --tls sslv2-hello --json\n  \
sluice explain --config sluice.toml --facts flows.jsonl --json"
)]
pub struct Args {
    /// The configuration whose policy is asked
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Facts of many flows, one JSON object a line; "-": standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = NAMED)]
    facts: Option<PathBuf>,
    /// One JSON object a flow
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flow: Flow,
}

/// Arguments that `--facts` replaces.
const NAMED: [&str; 27] = [
    "client",
    "user",
    "group",
    "listener",
    "connect_host",
    "connect_port",
    "connect_user_agent",
    "host",
    "destination",
    "port",
    "tls",
    "tls_version",
    "alpn",
    "ja4",
    "ech",
    "application",
    "certificate",
    "issuer",
    "client_certificate",
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
            host_is_ip: Field::Unnamed,
            host_mismatch: Field::Unnamed,
            inspected: Field::Unnamed,
            issuer: named(&self.issuer),
            ja4: named(&self.ja4),
            listener: named(&self.listener),
            method: named(&self.method),
            port: self.port.into(),
            size: self.size.into(),
            time: self.time.into(),
            tls: named(&self.tls),
            tls_version: several(&self.tls_version),
            tls_version_chosen: Field::Unnamed,
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
        let mut state = "hello";
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
        if !given.tls.is_named() && (given.host.is_named() || given.application.is_named()) {
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
        json,
        flow,
    } = args;
    let config = Config::load(&config)?;
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
    let given = flow.given();
    let prepared = given
        .prepare()
        .map_err(|bad| anyhow::anyhow!("--{}: {}", bad.key.replace('_', "-"), bad.message))?;
    let facts = prepared.facts(&config.policy);
    if json {
        Answer::of(&config.policy, &facts, &mut Scratch::default()).write(&mut out)?;
    } else {
        let whole = flow.stage.is_some();
        out.write_all(text::tell(&config, &facts, whole).as_bytes())?;
    }
    out.flush()?;
    Ok(())
}
