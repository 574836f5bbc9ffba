//! The groups of a user, and the groups of those.

use std::collections::{BTreeSet, HashSet};

use ldap3::{Scope, SearchEntry};

use super::{Entry, Failure, Lent, MEMBER_OF, Try, filter_of, values};

/// Groups that one user may be in.
const GROUPS: usize = 1000;

/// How deep groups may lie inside each other.
const DEPTH: usize = 16;

impl Try<'_> {
    /// The names of every group that a user is in. More than can be followed is a failure: half of
    /// the groups would be a wrong answer.
    pub(super) async fn groups(
        &self,
        lent: &mut Lent,
        entry: &Entry,
    ) -> Result<BTreeSet<String>, Failure> {
        let settings = &self.directory.settings.groups;
        let mut names = BTreeSet::new();
        // By DN, so that groups which contain each other come to an end.
        let mut seen = HashSet::new();
        let mut level = vec![(entry.dn.clone(), entry.member_of.clone())];
        for depth in 0.. {
            let mut next = Vec::new();
            for (dn, member_of) in level {
                for group in self.groups_of(lent, &entry.user, &dn, &member_of).await? {
                    if !seen.insert(group.dn.to_lowercase()) {
                        continue;
                    }
                    if seen.len() > GROUPS {
                        return Err(Failure::User(format!(
                            "the user \"{}\" is in more than {GROUPS} groups: make `group_filter` \
                             narrower",
                            entry.user
                        )));
                    }
                    // Rules can name no other.
                    let name = values(&group, &settings.name).first();
                    names.extend(
                        name.filter(|name| !name.chars().any(char::is_control))
                            .cloned(),
                    );
                    let member_of = values(&group, MEMBER_OF).to_vec();
                    next.push((group.dn, member_of));
                }
            }
            if next.is_empty() || !settings.nested {
                break;
            }
            if depth >= DEPTH {
                return Err(Failure::User(format!(
                    "the groups of \"{}\" lie more than {DEPTH} deep inside each other",
                    entry.user
                )));
            }
            level = next;
        }
        Ok(names)
    }

    /// The groups that an entry is in itself.
    async fn groups_of(
        &self,
        lent: &mut Lent,
        user: &str,
        dn: &str,
        member_of: &[String],
    ) -> Result<Vec<SearchEntry>, Failure> {
        let settings = &self.directory.settings.groups;
        let mut found = Vec::new();
        if let Some((base, filter)) = &settings.search {
            let filter = filter_of(filter, user, dn);
            let groups = self.search(lent, base, Scope::Subtree, &filter, GROUPS + 1);
            found.extend(groups.await?);
        }
        if settings.member_of {
            for group in member_of.iter().take(GROUPS + 1) {
                let group = self.search(lent, group, Scope::Base, "(objectClass=*)", 1);
                found.extend(group.await?);
            }
        }
        Ok(found)
    }
}
