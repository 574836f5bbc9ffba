//! Who stands for an address, and who is asked about credentials, for people to read.

use std::fmt::{self, Write};
use std::time::Duration;

use super::{Config, row, show_duration};
use crate::identity::{
    ldap::{self, Bind, Transport},
    negotiate,
    settings::{Htpasswd, Kind, Provider},
};

pub(super) fn write(config: &Config, out: &mut String) -> fmt::Result {
    let (addresses, settings) = (config.addresses, &config.identity);
    writeln!(out, "\nidentity:")?;
    row(out, "ttl", show_duration(addresses.ttl))?;
    row(out, "limit", addresses.limit)?;
    let stands = match addresses.proxy_stands_for_address {
        Duration::ZERO => "no".into(),
        time => format!("for {}", show_duration(time)),
    };
    row(out, "proxy_stands_for_address", stands)?;
    row(out, "realm", &settings.realm)?;
    if settings.providers.is_empty() {
        return row(out, "providers", "none");
    }
    for Provider {
        name,
        kind,
        cache,
        unavailable,
    } in &settings.providers
    {
        writeln!(out, "  provider \"{name}\", {}:", kind.name())?;
        match kind {
            Kind::Htpasswd(files) => htpasswd(files, out)?,
            Kind::Ldap(directory) => {
                ldap(directory, out)?;
                row(out, "  unavailable", unavailable.name())?;
            }
            Kind::Negotiate(tickets) => {
                negotiate(tickets, out)?;
                row(out, "  unavailable", unavailable.name())?;
                continue;
            }
        }
        let cache = if cache.is_zero() {
            "none".into()
        } else {
            show_duration(*cache)
        };
        row(out, "  cache", cache)?;
    }
    Ok(())
}

fn negotiate(tickets: &negotiate::Settings, out: &mut String) -> fmt::Result {
    let negotiate::Settings {
        keytab,
        service,
        realm,
        strip_realm,
    } = tickets;
    row(out, "  keytab", keytab.display())?;
    row(out, "  service", service)?;
    row(out, "  realm", realm)?;
    row(out, "  strip_realm", strip_realm)
}

fn htpasswd(files: &Htpasswd, out: &mut String) -> fmt::Result {
    let Htpasswd {
        file,
        groups,
        users,
    } = files;
    let file = format!("{}, {} users", file.display(), users.len());
    row(out, "  file", file)?;
    let groups = groups.as_ref();
    let groups = groups.map_or("none".into(), |file| file.display().to_string());
    row(out, "  groups", groups)
}

fn ldap(directory: &ldap::Settings, out: &mut String) -> fmt::Result {
    row(out, "  url", &directory.url)?;
    let transport = match directory.transport {
        Transport::Plaintext => "none: passwords go in the clear",
        Transport::StartTls => "StartTLS",
        Transport::Tls => "TLS",
    };
    row(out, "  protection", transport)?;
    let roots = if directory.roots.is_some() {
        "those of `ca`"
    } else {
        "the system's"
    };
    row(out, "  roots", roots)?;
    match &directory.bind {
        Bind::Direct { user_dn } => row(out, "  user_dn", user_dn)?,
        Bind::Search {
            base,
            filter,
            account,
        } => {
            row(out, "  base", base)?;
            row(out, "  filter", filter)?;
            let account = account.as_ref().map(|(dn, _)| &**dn);
            row(out, "  bind_dn", account.unwrap_or("nobody"))?;
        }
    }
    row(out, "  user_attribute", &directory.user_attribute)?;
    let groups = &directory.groups;
    if let Some((base, filter)) = &groups.search {
        row(out, "  group_base", base)?;
        row(out, "  group_filter", filter)?;
    }
    row(out, "  member_of", groups.member_of)?;
    row(out, "  group_name", &groups.name)?;
    row(out, "  nested", groups.nested)?;
    row(out, "  timeout", show_duration(directory.timeout))?;
    row(out, "  pool", directory.pool)
}
