//! The section `[ca]`.

use std::{path::PathBuf, time::Duration};

use sluice_mint::{AuthorityFiles, MinterOptions, PassphraseSource};

use super::{
    Ca,
    read::{Keys, Section},
    sections::{absolute, count},
    value,
};

pub(super) const CA: Keys = Keys {
    known: &[
        "certificate",
        "key",
        "passphrase_file",
        "passphrase_credential",
        "leaf_validity",
        "leaf_backdate",
        "leaf_cache",
        "mint_rate",
        "mint_burst",
    ],
    later: &[],
};

pub(super) fn ca(section: &Section<'_>) -> Option<Ca> {
    let file = |key, example: &str| {
        if section.get(key).is_none() {
            section.missing(key, &format!("name the file, as in \"{example}\""));
        }
        section.value(key, PathBuf::new(), absolute)
    };
    let files = AuthorityFiles {
        certificate: file("certificate", "/etc/sluice/ca.pem"),
        key: file("key", "/etc/sluice/ca.key"),
    };
    let from_file = section.get("passphrase_file");
    let from_credential = section.get("passphrase_credential");
    if let (Some(_), Some(item)) = (&from_file, &from_credential) {
        item.note("a key has one passphrase: take this out, or `passphrase_file`");
    }
    let passphrase = match (from_file, from_credential) {
        (Some(item), _) => item.parse(absolute).map(PassphraseSource::File),
        (None, Some(item)) => item.parse(credential).map(PassphraseSource::Credential),
        (None, None) => None,
    };
    let default = MinterOptions::default();
    let within = |key, default, least: Duration, most: Duration| {
        let read = section.value(key, default, value::duration);
        if !(least..=most).contains(&read)
            && let Some(item) = section.get(key)
        {
            item.note(format!(
                "expected a duration from \"{}\" to \"{}\"",
                value::show_duration(least),
                value::show_duration(most)
            ));
        }
        read
    };
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let number = |key, default: u32, most: u64| {
        let read = section.number(key, default.into(), 1..most + 1);
        u32::try_from(read).unwrap_or(default)
    };
    let options = MinterOptions {
        // Less is spent before a client has it; clients may refuse more.
        validity: within("leaf_validity", default.validity, days(1) / 24, days(90)),
        backdate: within("leaf_backdate", default.backdate, Duration::ZERO, days(30)),
        cache: count(section, "leaf_cache", default.cache),
        mint_rate: section.value("mint_rate", default.mint_rate, value::per_second),
        mint_burst: number("mint_burst", default.mint_burst, 1_000_000),
        ..default
    };
    Some(Ca {
        files,
        passphrase,
        options,
    })
}

fn credential(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('/') || matches!(text, "." | "..") {
        return Err("expected the name of a credential, as in \"sluice-ca\"".into());
    }
    Ok(text.to_owned())
}
