//! Who may depend on whom.

use anyhow::{Result, bail};

use crate::repo;

/// The members, and the members that each may use; development dependencies do not count here.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sluice-abi", &[]),
    ("sluice-programs", &["sluice-abi"]),
    ("sluice-ebpf-build", &[]),
    ("sluice-peek", &[]),
    ("sluice-splice", &[]),
    ("sluice-mint", &[]),
    ("sluice-policy", &["sluice-abi"]),
    (
        "sluice-steer",
        &["sluice-abi", "sluice-policy", "sluice-ebpf-build"],
    ),
    ("sluice-gateway", SHIPPED),
    ("sluice-guard", &["sluice-peek", "sluice-policy"]),
    ("sluice-interception-guard", &[]),
    (
        "sluice-bench",
        &[
            "sluice-abi",
            "sluice-peek",
            "sluice-policy",
            "sluice-steer",
            "sluice-guard",
        ],
    ),
    ("sluice-tests", SHIPPED),
    ("xtask", &["sluice-ebpf-build"]),
];

/// All that is shipped or goes into it.
const SHIPPED: &[&str] = &[
    "sluice-abi",
    "sluice-programs",
    "sluice-ebpf-build",
    "sluice-peek",
    "sluice-splice",
    "sluice-mint",
    "sluice-policy",
    "sluice-steer",
    "sluice-gateway",
];

/// What is for developers, and the members that alone may use it, not even the tests of others.
const ONLY_FOR: &[(&str, &[&str])] = &[
    (
        "sluice-guard",
        &["sluice-bench", "sluice-interception-guard"],
    ),
    ("sluice-interception-guard", &[]),
    ("sluice-bench", &[]),
    ("sluice-tests", &[]),
    ("xtask", &[]),
];

/// Whether `package` is for developers other than those of `member`.
fn kept_from(package: &str, member: &str) -> bool {
    ONLY_FOR
        .iter()
        .any(|(name, users)| *name == package && !users.contains(&member))
}

/// Packages that must not be reachable from a member, directly or through others.
const NEVER: &[(&str, &[&str])] = &[
    ("sluice-abi", &["aya", "tokio", "libc"]),
    ("sluice-ebpf-build", &["aya", "tokio", "serde"]),
    ("sluice-peek", &["aya", "tokio", "rustix", "mio"]),
    ("sluice-policy", &["aya", "tokio", "rustix", "mio"]),
    ("sluice-splice", &["aya", "rcgen"]),
    ("sluice-mint", &["aya", "tokio", "hyper", "serde"]),
    ("sluice-steer", &["rustls", "hyper"]),
    ("xtask", &["aya", "tokio"]),
];

/// Fails where a dependency goes the wrong way.
///
/// # Errors
///
/// Names every edge that must not be.
pub(super) fn check() -> Result<()> {
    let mut found = Vec::new();
    let direct = tree(&["--workspace", "--depth", "1", "--edges", "normal,build"])?;
    for (member, uses) in edges(&direct) {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == member) else {
            found.push(format!("{member} is a member without a rule"));
            continue;
        };
        let own = uses
            .iter()
            .filter(|used| MAY_USE.iter().any(|(name, _)| name == *used));
        for used in own.filter(|used| !allowed.contains(used)) {
            found.push(format!("{member} must not use {used}"));
        }
    }
    let all = tree(&["--workspace", "--depth", "1", "--edges", "all"])?;
    for (member, uses) in edges(&all) {
        for used in uses.iter().filter(|used| kept_from(used, member)) {
            found.push(format!(
                "{member} must not use {used}, not even in its tests"
            ));
        }
    }
    for (member, banned) in NEVER {
        let reach = tree(&["--package", member, "--edges", "normal,build"])?;
        for name in names(&reach).filter(|name| banned.contains(name)) {
            found.push(format!("{member} must not reach {name}"));
        }
    }
    if !found.is_empty() {
        found.sort();
        found.dedup();
        bail!("{}", found.join("\n  "));
    }
    Ok(())
}

/// Lines of a depth, a name and a version.
fn tree(args: &[&str]) -> Result<String> {
    let mut cargo = repo::cargo(&["tree", "--quiet", "--prefix", "depth", "--format", " {p}"]);
    repo::output(cargo.args(["--all-features", "--target", "all"]).args(args))
}

/// Each member with what it uses directly.
fn edges(tree: &str) -> Vec<(&str, Vec<&str>)> {
    let mut edges: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("0"), Some(member)) => edges.push((member, Vec::new())),
            (Some("1"), Some(used)) => {
                if let Some((_, uses)) = edges.last_mut() {
                    uses.push(used);
                }
            }
            _ => {}
        }
    }
    edges
}

fn names(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().nth(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_depth_one_is_read() {
        let tree = "0 a v0.1.0 (/r/a)\n1 b v0.1.0 (/r/b)\n1 c v2.0.0\n\n0 b v0.1.0 (/r/b) (*)\n";
        assert_eq!(edges(tree), [("a", vec!["b", "c"]), ("b", vec![])]);
        assert_eq!(names(tree).collect::<Vec<_>>(), ["a", "b", "c", "b"]);
    }

    #[test]
    fn nothing_shipped_may_use_what_only_developers_do() {
        for (member, allowed) in MAY_USE {
            assert!(
                !allowed.iter().any(|used| kept_from(used, member)),
                "{member}"
            );
        }
    }
}
