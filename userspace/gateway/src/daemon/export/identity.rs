//! Metrics of who asks clients who they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::table::Id;
use super::{Label, Page};
use crate::daemon::metrics::latency::Noted;
use crate::identity::providers::{Providers, State};

pub(super) fn collect(page: &mut Page, providers: &Providers) {
    let mut asked = false;
    for (name, counters) in providers.counters() {
        let provider: Arc<str> = name.into();
        let provider = || Label::Name(Arc::clone(&provider));
        for (outcome, count) in [
            ("ok", &counters.ok),
            ("cached", &counters.cached),
            ("refused", &counters.refused),
            ("unavailable", &counters.unavailable),
        ] {
            let labels = [provider(), outcome.into()];
            page.count(Id::Authentications, labels, read(count));
        }
        let mut noted = Noted::default();
        counters.latency.add_to(&mut noted);
        page.durations(Id::ProviderTime, [provider()], noted);
        asked = true;
    }
    if !asked {
        return;
    }
    let totals = providers.totals();
    for (why, count) in [("slowed", &totals.slowed), ("malformed", &totals.malformed)] {
        page.count(Id::CredentialsUnread, [why.into()], read(count));
    }
    for one in providers.status() {
        let is_down = one.state == State::Down;
        let provider = Label::Name(one.name.as_str().into());
        page.count(Id::ProviderDown, [provider], is_down.into());
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Format;
    use super::*;
    use crate::identity::htpasswd::Users;
    use crate::identity::settings::{Htpasswd, Kind, Provider, Settings, Unavailable};

    /// The lines of a page that are no comments.
    fn lines(providers: &Providers) -> Vec<String> {
        let mut page = Page::default();
        collect(&mut page, providers);
        let text = page.write(Format::Prometheus).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn what_providers_said_is_exported() {
        assert!(lines(&Providers::default()).is_empty());
        let hash = "alice:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC";
        let files = Htpasswd {
            file: "staff".into(),
            groups: None,
            users: Users::read(hash, &mut Vec::new(), 1),
        };
        let settings = Settings {
            providers: vec![Provider {
                name: "staff".into(),
                kind: Kind::Htpasswd(Arc::new(files)),
                cache: Duration::from_secs(60),
                unavailable: Unavailable::Block,
            }],
            ..Settings::default()
        };
        let providers = Providers::new(&settings).unwrap();
        let asks = providers.authenticator(&["staff"]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        // Of alice: right twice, wrong, and what is none.
        for shown in [
            "YWxpY2U6cmlnaHQ=",
            "YWxpY2U6cmlnaHQ=",
            "YWxpY2U6d3Jvbmc=",
            "!",
        ] {
            let value = format!("Basic {shown}").parse().unwrap();
            let from = "192.0.2.7".parse().unwrap();
            runtime.block_on(asks.authenticate(from, Some(&value)));
        }
        let lines = lines(&providers);
        for expected in [
            "sluice_authentications_total{provider=\"staff\",outcome=\"ok\"} 1",
            "sluice_authentications_total{provider=\"staff\",outcome=\"cached\"} 1",
            "sluice_authentications_total{provider=\"staff\",outcome=\"refused\"} 1",
            "sluice_authentications_total{provider=\"staff\",outcome=\"unavailable\"} 0",
            "sluice_credentials_unread_total{why=\"malformed\"} 1",
            "sluice_credentials_unread_total{why=\"slowed\"} 0",
            "sluice_provider_down{provider=\"staff\"} 0",
            "sluice_provider_seconds_bucket{provider=\"staff\",le=\"+Inf\"} 2",
            "sluice_provider_seconds_count{provider=\"staff\"} 2",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
        }
    }
}
