//! What is said of a directory.

use std::sync::Arc;
use std::time::Duration;

use crate::identity::secret::Secret;

/// A directory and how it is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Where it is: `ldap://` or `ldaps://`, a host and perhaps a port (RFC 4516).
    pub url: Box<str>,
    /// What protects the passwords on their way.
    pub transport: Transport,
    /// Roots that its certificate is judged by, in PEM; `None`: those of the system.
    pub roots: Option<Arc<str>>,
    /// How a user is found and tried.
    pub bind: Bind,
    /// The attribute whose value the user is called by, however it was typed.
    pub user_attribute: Box<str>,
    /// Where the groups are.
    pub groups: Groups,
    /// Time for the whole answer about one user, the connection included.
    pub timeout: Duration,
    /// Connections.
    pub pool: usize,
}

/// What protects the passwords on their way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Nothing.
    Plaintext,
    /// StartTLS (RFC 4511 section 4.14).
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// How a user is found and tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Bind {
    /// The name makes the DN.
    Direct {
        /// The DN, with `{user}` where the name goes.
        user_dn: Box<str>,
    },
    /// The user's entry is looked for.
    Search {
        /// Below which entry.
        base: Box<str>,
        /// By which filter, with `{user}` where the name goes.
        filter: Box<str>,
        /// Who looks: a DN and its password; `None`: anybody.
        account: Option<(Box<str>, Secret)>,
    },
}

/// Where the groups are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Groups {
    /// They are looked for below this entry, by this filter with `{dn}` or `{user}`.
    pub search: Option<(Box<str>, Box<str>)>,
    /// They are read from the attribute `memberOf`.
    pub member_of: bool,
    /// The attribute that a group is called by.
    pub name: Box<str>,
    /// Whether groups of groups count.
    pub nested: bool,
}

/// Puts a user's name into a DN (RFC 4514 section 2.4).
#[must_use]
pub fn dn_of(template: &str, user: &str) -> String {
    template.replace("{user}", &ldap3::dn_escape(user))
}

/// Puts a user's name and DN into a filter (RFC 4515 section 3).
#[must_use]
pub fn filter_of(template: &str, user: &str, dn: &str) -> String {
    let mut filter = String::with_capacity(template.len() + dn.len());
    let mut rest = template;
    // In one pass: what is put in holds no places of its own.
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        filter.push_str(before);
        let places = [("{user}", user), ("{dn}", dn)];
        let found = places
            .iter()
            .find_map(|(place, value)| Some((from.strip_prefix(place)?, *value)));
        if let Some((after, value)) = found {
            filter.push_str(&ldap3::ldap_escape(value));
            rest = after;
        } else {
            filter.push('{');
            rest = from.get(1..).unwrap_or_default();
        }
    }
    filter.push_str(rest);
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_where_they_go() {
        let cases = [
            ("alice", "uid=alice,dc=x", "(uid=alice)"),
            ("a,dc=y", "uid=a\\2cdc\\3dy,dc=x", "(uid=a,dc=y)"),
            (
                "*)(uid=*",
                "uid=*)(uid\\3d*,dc=x",
                "(uid=\\2a\\29\\28uid=\\2a)",
            ),
            (" #a\\ ", "uid=\\20#a\\5c\\20,dc=x", "(uid= #a\\5c )"),
            ("{dn}", "uid={dn},dc=x", "(uid={dn})"),
            ("{user}", "uid={user},dc=x", "(uid={user})"),
        ];
        for (user, dn, filter) in cases {
            assert_eq!(dn_of("uid={user},dc=x", user), dn);
            assert_eq!(filter_of("(uid={user})", user, "cn=(x)"), filter);
        }
        assert_eq!(
            filter_of("(&(a={x})(m={dn})(u={user}))", "u", "cn=(x)"),
            "(&(a={x})(m=cn=\\28x\\29)(u=u))"
        );
    }
}
