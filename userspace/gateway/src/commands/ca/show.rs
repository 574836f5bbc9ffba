//! `sluice ca show`, and what `sluice check` says of an authority.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
};

use serde_json::{Value, json};
use sluice_mint::{AuthorityError, AuthorityFiles, Certificates, Chain, KeyState, show_moment};

use super::Where;

/// Arguments of `sluice ca show`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 all is well, 1 something is amiss or cannot be read. The key \
is not opened."
)]
pub(super) struct Args {
    #[command(flatten)]
    at: Where,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What there is to say of an authority.
#[derive(Debug)]
pub struct Report {
    certificates: Certificates,
    key: Result<KeyState, AuthorityError>,
    now: i64,
}

/// Reads an authority to be told of. The key is looked at, not opened.
///
/// # Errors
///
/// A certificate cannot be read or is none of a CA.
pub fn report(files: &AuthorityFiles, now: i64) -> Result<Report, AuthorityError> {
    Ok(Report {
        certificates: files.certificates()?,
        key: files.key_state(now),
        now,
    })
}

pub(super) fn run(args: &Args, now: i64) -> anyhow::Result<ExitCode> {
    let (files, _) = args.at.find()?;
    let report = report(&files, now)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report.machine())?;
    } else {
        out.write_all(report.human().as_bytes())?;
    }
    Ok(if report.warnings().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Report {
    /// What is amiss, or soon will be.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let signing = self.certificates.signing(self.now);
        let about = |warning| format!("the CA \"{}\" {warning}", signing.signing().subject);
        let mut found: Vec<_> = signing.warnings(self.now).into_iter().map(about).collect();
        if let Some((from, _)) = &self.certificates.next
            && *from <= self.now
        {
            found.push(format!(
                "the next CA signs since {}: `sluice ca rotate --finish` ends the rotation",
                show_moment(*from)
            ));
        }
        if let Err(error) = &self.key {
            found.push(format!("the key of the CA: {error}"));
        }
        found
    }

    /// Why the daemon could not use it: what is read of the key, but for a user who may not look.
    #[must_use]
    pub fn refusal(&self, files: &AuthorityFiles) -> Option<String> {
        let signing = self.certificates.signing(self.now);
        if let Err(error) = signing.check_dates(&files.certificate, self.now) {
            return Some(error.to_string());
        }
        match &self.key {
            Err(AuthorityError::Read { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                None
            }
            Err(error) => Some(error.to_string()),
            Ok(_) => None,
        }
    }

    /// For people.
    #[must_use]
    pub fn human(&self) -> String {
        let Certificates {
            current,
            next,
            previous,
        } = &self.certificates;
        let mut text = String::new();
        let signs = match next {
            Some((from, _)) if *from <= self.now => "signs no more",
            _ => "signs",
        };
        // Writing to a String cannot fail.
        let _ = chain(&mut text, &format!("current ({signs})"), current);
        if let Some((from, next)) = next {
            let _ = chain(
                &mut text,
                &format!("next (signs from {})", show_moment(*from)),
                next,
            );
        }
        if let Some(previous) = previous {
            let _ = chain(&mut text, "previous", previous);
        }
        let key = match &self.key {
            Ok(KeyState::Plain) => "there, not encrypted",
            Ok(KeyState::Encrypted) => "there, encrypted",
            Err(_) => "cannot be used",
        };
        let _ = writeln!(text, "key: {key}");
        for warning in self.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    /// For machines.
    #[must_use]
    pub fn machine(&self) -> Value {
        let Certificates {
            current,
            next,
            previous,
        } = &self.certificates;
        let next = next.as_ref().map(|(from, chain)| {
            let mut value = machine(chain);
            if let Value::Object(object) = &mut value {
                object.insert("signs_from".into(), json!(show_moment(*from)));
            }
            value
        });
        json!({
            "current": machine(current),
            "next": next,
            "previous": previous.as_ref().map(machine),
            "key": match &self.key {
                Ok(KeyState::Plain) => "plain",
                Ok(KeyState::Encrypted) => "encrypted",
                Err(_) => "unusable",
            },
            "warnings": self.warnings(),
        })
    }
}

fn chain(text: &mut String, title: &str, chain: &Chain) -> std::fmt::Result {
    let signing = chain.signing();
    writeln!(text, "{title}:")?;
    let mut row = |key: &str, value: &str| writeln!(text, "  {key:<12} {value}");
    row("subject", &signing.subject)?;
    if !signing.is_root() {
        row("issuer", &signing.issuer)?;
    }
    row("fingerprint", &signing.fingerprint.to_string())?;
    row("serial", &signing.serial)?;
    row("key", &signing.key.to_string())?;
    row(
        "valid",
        &format!(
            "{} to {}",
            show_moment(chain.not_before()),
            show_moment(chain.not_after())
        ),
    )?;
    let length = signing.path_length.map(|length| length.to_string());
    row("path length", length.as_deref().unwrap_or("any"))?;
    row("names", &signing.constraints.to_string())?;
    for above in chain.certificates().iter().skip(1) {
        row("above", &above.subject)?;
    }
    Ok(())
}

fn machine(chain: &Chain) -> Value {
    let signing = chain.signing();
    json!({
        "subject": signing.subject,
        "issuer": signing.issuer,
        "fingerprint": signing.fingerprint.to_string(),
        "serial": signing.serial,
        "key": signing.key.to_string(),
        "not_before": show_moment(chain.not_before()),
        "not_after": show_moment(chain.not_after()),
        "path_length": signing.path_length,
        "constraints": signing.constraints.to_string(),
        "is_root": signing.is_root(),
        "above": chain.certificates().iter().skip(1).map(|above| &above.subject)
            .collect::<Vec<_>>(),
    })
}
