//! The effective policy, for people to read.

mod condition;
mod identity;
mod policy;

use std::fmt::{self, Display, Write};

use sluice_mint::PassphraseSource;

use super::{
    Ca, Config, ListenerTls, Log, Midstream, OnFailure, Proxy, WhenFull, protocol_name,
    show_duration, show_size,
    warn::{notes, openings, warnings},
};
use crate::page::Contact;

pub(super) use condition::abbreviated;
pub use condition::condition;
pub use policy::action;

/// Writes the whole of a configuration: every section with its defaults filled in, every opening,
/// the rules with what each can force, and what to be aware of.
#[must_use]
pub fn effective(config: &Config) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = sections(config, &mut text).and_then(|()| policy::write(config, &mut text));
    for (title, lines) in [
        ("openings (what no rule judges)", openings(config)),
        ("warnings", warnings(config)),
        ("notes", notes(config)),
    ] {
        if lines.is_empty() && title != "warnings" && !title.starts_with("openings") {
            continue;
        }
        let _ = writeln!(text, "\n{title}:");
        if lines.is_empty() {
            let _ = writeln!(text, "  none");
        }
        for line in lines {
            let _ = writeln!(text, "  - {line}");
        }
    }
    text
}

fn proxies(proxy: &Proxy, out: &mut String) -> fmt::Result {
    writeln!(out, "\nproxy \"{}\":", proxy.name)?;
    row(out, "listen", list(&proxy.listen))?;
    if let Some(ListenerTls {
        certificate,
        key,
        client_ca,
    }) = &proxy.tls
    {
        row(out, "tls.certificate", certificate.display())?;
        row(out, "tls.key", key.display())?;
        if let Some(client_ca) = client_ca {
            row(out, "tls.client_ca", client_ca.display())?;
        }
    }
    row(out, "identify", list(&proxy.identify))?;
    row(out, "identity", proxy.identity.name())?;
    let allowed = |is_so| if is_so { "allow" } else { "block" };
    row(
        out,
        "unidentified_tunnels",
        allowed(proxy.unidentified_tunnels),
    )?;
    row(out, "connect_ports", list(&proxy.connect_ports))?;
    row(out, "connect_addresses", allowed(proxy.connect_addresses))?;
    row(out, "forwarded_for", proxy.forwarded_for.name())?;
    row(out, "via", proxy.via)
}

fn sections(config: &Config, out: &mut String) -> fmt::Result {
    let Config {
        gateway,
        egress,
        steer,
        splice,
        page,
        request,
        admin,
        ca,
        ..
    } = config;
    writeln!(out, "gateway:")?;
    row(out, "lan", list(&gateway.lan))?;
    let on_failure = match gateway.on_failure {
        OnFailure::Closed => "closed: without a daemon steered ports are refused",
        OnFailure::Open => "open: without a daemon steered ports are forwarded unjudged",
    };
    row(out, "on_failure", on_failure)?;
    let midstream = match gateway.midstream {
        Midstream::Drop => "drop",
        Midstream::Pass => "pass",
    };
    row(out, "midstream", midstream)?;
    let workers = gateway
        .workers
        .map_or("one per core".into(), |count| count.to_string());
    row(out, "workers", workers)?;
    row(out, "state_dir", gateway.state_dir.display())?;
    row(out, "bpffs_dir", gateway.bpffs_dir.display())?;
    let marks = gateway.marks;
    row(
        out,
        "mark",
        format!("{:#010x}/{:#010x}", marks.steer, marks.mask),
    )?;
    row(out, "table", gateway.table)?;
    row(out, "listener_port", gateway.listener_port)?;
    row(out, "flow_limit", gateway.flow_limit)?;
    row(out, "flow_limit_per_client", gateway.flow_limit_per_client)?;
    row(out, "drain_timeout", show_duration(gateway.drain_timeout))?;

    writeln!(out, "\negress (in the kernel):")?;
    row(out, "default", egress.default.name())?;
    row(out, "block_tcp", list(&egress.block_tcp))?;
    row(out, "block_udp", list(&egress.block_udp))?;
    row(out, "pass_tcp", list(&egress.pass_tcp))?;
    row(out, "pass_udp", list(&egress.pass_udp))?;
    row(out, "quic", egress.quic.name())?;
    row(out, "inbound", "drop")?;
    let protocols: Vec<_> = egress
        .other_protocols
        .iter()
        .map(|&p| protocol_name(p))
        .collect();
    row(out, "other_protocols", list(&protocols))?;
    row(out, "icmp_rate", format!("{}/s", egress.icmp_per_second))?;
    row(out, "flow_limit", egress.flow_limit)?;
    row(out, "flow_limit_per_client", egress.flow_limit_per_client)?;
    for (number, rule) in (1..).zip(&egress.rules) {
        writeln!(
            out,
            "  rule {number}: \"{}\": {}",
            rule.name,
            rule.action.name()
        )?;
    }

    writeln!(out, "\nsteer (to the daemon):")?;
    row(out, "tls", list(&steer.ports.tls))?;
    row(out, "http", list(&steer.ports.http))?;
    row(out, "hello_timeout", show_duration(steer.hello_timeout))?;
    row(out, "silent_timeout", show_duration(steer.silent_timeout))?;
    row(out, "hello_limit", show_size(steer.hello_limit as u64))?;
    row(out, "strict_hrr", steer.strict_hrr)?;
    row(out, "sni_truth", steer.sni_truth.name())?;

    for proxy in &config.proxies {
        proxies(proxy, out)?;
    }

    writeln!(out, "\nsplice:")?;
    let timeout = |time: Option<_>| time.map_or("none".into(), show_duration);
    row(out, "idle_timeout", timeout(splice.idle_timeout))?;
    row(out, "total_timeout", timeout(splice.total_timeout))?;
    row(
        out,
        "connect_timeout",
        show_duration(splice.connect_timeout),
    )?;
    row(out, "bulk_after", show_size(splice.bulk_after))?;

    if let Some(Ca {
        files,
        passphrase,
        options,
    }) = ca
    {
        writeln!(out, "\nca:")?;
        row(out, "certificate", files.certificate.display())?;
        row(out, "key", files.key.display())?;
        let passphrase = match passphrase {
            None => "none".into(),
            Some(PassphraseSource::File(path)) => path.display().to_string(),
            Some(PassphraseSource::Credential(name)) => format!("credential \"{name}\""),
            Some(PassphraseSource::Terminal) => "asked for".into(),
        };
        row(out, "passphrase", passphrase)?;
        row(out, "leaf_validity", show_duration(options.validity))?;
        row(out, "leaf_backdate", show_duration(options.backdate))?;
        row(out, "leaf_cache", options.cache)?;
        row(out, "mint_rate", format!("{}/s", options.mint_rate))?;
        row(out, "mint_burst", options.mint_burst)?;
    }

    let resolver = &config.resolver;
    writeln!(out, "\nresolver:")?;
    let servers = match resolver.servers.as_slice() {
        [] => "the system's".into(),
        servers => list(servers),
    };
    row(out, "servers", servers)?;
    row(out, "timeout", show_duration(resolver.timeout))?;
    row(out, "cache", resolver.cache)?;
    row(out, "attempt_delay", show_duration(resolver.attempt_delay))?;

    writeln!(out, "\nguard:")?;
    row(out, "allow", list(&config.guard.allow))?;
    row(out, "own", list(&config.guard.own))?;
    row(out, "nat64", list(&config.guard.nat64))?;

    let upstream = &config.upstream;
    writeln!(out, "\nupstream:")?;
    row(out, "system_roots", upstream.system_roots)?;
    let files = |paths: &[std::path::PathBuf]| {
        let shown: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        list(&shown)
    };
    row(out, "roots", files(&upstream.roots))?;
    row(out, "revocation", upstream.revocation.name())?;
    row(out, "revocation_unknown", upstream.unknown.name())?;
    row(out, "crls", files(&upstream.crls))?;
    row(
        out,
        "client_certificate",
        upstream.client_certificate.name(),
    )?;
    row(
        out,
        "answer_timeout",
        show_duration(upstream.answer_timeout),
    )?;
    row(
        out,
        "handshake_timeout",
        show_duration(upstream.handshake_timeout),
    )?;
    row(out, "sessions", upstream.sessions)?;

    let intercept = config.intercept;
    writeln!(out, "\nintercept:")?;
    row(
        out,
        "handshake_timeout",
        show_duration(intercept.handshake_timeout),
    )?;
    row(out, "head_timeout", show_duration(intercept.head_timeout))?;
    row(out, "rejected_ttl", show_duration(intercept.rejected_ttl))?;

    writeln!(out, "\nrequest:")?;
    row(out, "url_limit", show_size(request.url as u64))?;
    row(out, "header_limit", show_size(request.fields_size as u64))?;
    row(out, "header_count", request.fields)?;

    writeln!(out, "\npage:")?;
    let or_none = |text: Option<&str>| text.unwrap_or("none").to_owned();
    row(out, "organisation", or_none(page.organisation.as_deref()))?;
    let contact = page.contact.as_ref().map(Contact::as_str);
    row(out, "contact", or_none(contact))?;
    let languages: Vec<_> = page.languages.iter().map(|one| one.tag()).collect();
    row(out, "languages", list(&languages))?;
    row(out, "show_query", page.show_query)?;
    let file = page.template_file.as_ref();
    let template = file.map_or("built in".into(), |file| file.display().to_string());
    row(out, "template", template)?;

    identity::write(config, out)?;

    writeln!(out, "\nadmin:")?;
    let listen: Vec<_> = admin
        .listen
        .iter()
        .map(|listener| format!("{listener}"))
        .collect();
    row(out, "listen", list(&listen))?;
    row(out, "names", list(&admin.names))?;
    row(out, "recent", admin.recent)?;
    let token = if admin.token.is_some() { "set" } else { "none" };
    row(out, "token_file", token)?;
    let tls = admin.tls.as_ref().map_or("none".into(), |tls| {
        let clients = tls.client_ca.as_ref();
        let clients = clients.map(|path| format!(", clients by {}", path.display()));
        format!(
            "{}{}",
            tls.certificate.display(),
            clients.unwrap_or_default()
        )
    });
    row(out, "tls", tls)?;
    log(&config.log, out)
}

fn log(log: &Log, out: &mut String) -> fmt::Result {
    writeln!(out, "\nlog:")?;
    row(out, "access", list(&log.access))?;
    row(out, "format", log.format.name())?;
    let when_full = match log.when_full {
        WhenFull::Drop => "drop: records are lost while a sink is full or gone",
        WhenFull::Block => "block: new flows are refused while a sink is full or gone",
    };
    row(out, "when_full", when_full)?;
    row(out, "queue_limit", show_size(log.queue_limit as u64))?;
    let size = log.rotation.size.map_or("never".into(), show_size);
    row(out, "rotate_size", size)?;
    row(out, "rotate_keep", log.rotation.keep)?;
    let privacy = &log.privacy;
    row(out, "addresses", privacy.addresses.name())?;
    row(out, "users", privacy.users.name())?;
    row(
        out,
        "pseudonym_period",
        show_duration(privacy.pseudonym_period),
    )?;
    row(out, "urls", privacy.urls.name())?;
    row(
        out,
        "packets",
        log.packets.map_or("off".into(), show_duration),
    )
}

fn row(out: &mut String, key: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "  {key:<22} {value}")
}

fn list<T: Display>(values: &[T]) -> String {
    if values.is_empty() {
        return "none".into();
    }
    values
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Display for super::AdminListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
