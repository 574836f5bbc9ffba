//! The recipe that sluice ships, fitted into a lab.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{family::Family, lab::Lab};

/// The recipe as it is shipped.
const RECIPE: &str = include_str!("../../userspace/gateway/examples/proxy.toml");

/// Port of its proxy.
pub const PORT: u16 = 3128;

/// Somebody in the group, at whatever address: name and password, as the Basic scheme shows them.
pub const ALICE: &str = "YWxpY2U6b3BlbnNlc2FtZQ==";
/// Somebody in no group, for [`crate::proxied::Connect`].
pub const BOB: &str = "Ym9iOnN3b3JkZmlzaA==";
/// The same, for curl.
pub const BOB_LOGIN: &str = "bob:swordfish";
/// Alice's name, with a password that is not hers.
pub const MALLORY: &str = "YWxpY2U6Z3Vlc3M=";

/// What `htpasswd -B` makes of their passwords, at the least cost.
const PASSWORDS: &str = "alice:$2y$04$Av/nEKEQ4sK3af67nqnkeOz7q1L9qQez.lZ8rhDWz6TZhBQX8TcXK\n\
                         bob:$2y$04$91mqjMW1Db.IVtsqiIFV5OsG6/pytw/ZD2pUhFXalTQwbdnqRgHTe\n";

/// The recipe with the lab's member in its group, alice and bob in its file of passwords, its proxy at
/// the gateway of the lab, and the lab's name server and authority believed.
///
/// # Panics
///
/// When the recipe is not what it was, or the lab's directory cannot be written to.
#[must_use]
pub fn in_lab(lab: &Lab) -> toml::Table {
    let mut table: toml::Table = RECIPE.parse().expect("the recipe is TOML");
    let text = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned());
    let passwords = lab.dir().join("staff.htpasswd");
    fs::write(&passwords, PASSWORDS).expect("the lab's directory");
    let gateway = |family: Family, port| SocketAddr::new(family.gateway_lan(), port).to_string();
    let members = Family::ALL.map(|family| family.member().to_string());
    let members = members.into_iter().chain(["alice".to_owned()]);
    table["group"][0]["members"] = members.collect::<Vec<_>>().into();
    let listen = Family::ALL.map(|family| toml::Value::from(gateway(family, PORT)));
    table["proxy"][0]["listen"] = listen.to_vec().into();
    table["identity"]["provider"][0]["file"] = text(&passwords);
    let believed = |key: &str, value| {
        let list = toml::Value::from(vec![value]);
        toml::Table::from_iter([(key.to_owned(), list)])
    };
    let resolver = believed("servers", gateway(Family::V4, 53).into());
    let upstream = believed("roots", text(&authority(lab)));
    table.insert("resolver".to_owned(), resolver.into());
    table.insert("upstream".to_owned(), upstream.into());
    table
}

/// The authority that the recipe believes in the lab, PEM; whoever serves origins writes it.
#[must_use]
pub fn authority(lab: &Lab) -> PathBuf {
    lab.dir().join("authority.pem")
}
