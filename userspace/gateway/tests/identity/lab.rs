//! Providers out of a configuration file, and clients that show credentials.

use std::{fs, net::IpAddr, path::PathBuf};

use base64ct::{Base64, Encoding};
use http::HeaderValue;
use sluice_gateway::{
    config::Config,
    identity::{
        Source,
        authenticate::{Authenticated, Authenticator},
        providers::{Providers, Status},
    },
};

/// The address of the client in all of these.
pub(crate) const CLIENT: &str = "192.0.2.7";

/// A folder with a configuration, its files, and the providers that are made of them.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    pub(crate) providers: Providers,
}

impl Lab {
    pub(crate) fn new(identity: &str, files: &[(&str, &str)]) -> Self {
        let mut lab = Self {
            folder: tempfile::tempdir().unwrap(),
            providers: Providers::default(),
        };
        for (name, content) in files {
            lab.write(name, content);
        }
        lab.write(
            "x.toml",
            &format!("[gateway]\nlan = [\"lan0\"]\n{identity}"),
        );
        lab.reload();
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn reload(&mut self) {
        let config = Config::load(&self.path("x.toml")).unwrap_or_else(|error| panic!("{error}"));
        self.providers = self.providers.next(&config.identity).unwrap();
    }

    pub(crate) fn authenticator(&self, names: &[&str]) -> Authenticator {
        self.providers.authenticator(names).unwrap()
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        let all = self.providers.status();
        all.into_iter().find(|one| one.name == name).unwrap()
    }
}

/// What a client shows for a user and a password.
pub(crate) fn shown(user: &str, password: &str) -> HeaderValue {
    let token = Base64::encode_string(format!("{user}:{password}").as_bytes());
    format!("Basic {token}").parse().unwrap()
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// Shows user and password from an address.
pub(crate) fn log_in_from(
    from: &str,
    authenticator: &Authenticator,
    user: &str,
    password: &str,
) -> Authenticated {
    let from: IpAddr = from.parse().unwrap();
    run(authenticator.authenticate(from, Some(&shown(user, password))))
}

pub(crate) fn log_in(authenticator: &Authenticator, user: &str, password: &str) -> Authenticated {
    log_in_from(CLIENT, authenticator, user, password)
}

/// The name, the groups and the provider of who is known.
#[track_caller]
pub(crate) fn known(outcome: &Authenticated) -> (String, Vec<String>, String) {
    let Authenticated::Known(identity) = outcome else {
        panic!("nobody is known: {outcome:?}");
    };
    let Source::Credentials(provider) = &identity.source else {
        panic!("not by credentials: {identity:?}");
    };
    let groups = identity.groups.iter().map(ToString::to_string).collect();
    (identity.user.to_string(), groups, provider.to_string())
}
