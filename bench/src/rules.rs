//! Rules to decide by: the recipe, and as many of other kinds as one likes.

use std::net::{IpAddr, Ipv4Addr};

use sluice_policy::{
    Action, Alpn, BlockKind, Condition, Defaults, Facts, FirstBytes, Group, GroupId, Hello,
    HostPattern, Net, NetError, NotNegotiated, Rule, RuleBody, RuleSet,
};

/// The recipe: what is not TLS is for members of a group alone.
///
/// # Errors
///
/// None in practice: a network that is none.
pub fn recipe() -> Result<RuleSet, NetError> {
    let not_tls = || {
        let reasons = NotNegotiated::ALL.into_iter().map(Some).collect();
        Condition::Tls(reasons)
    };
    let members = || Condition::Group(vec![GroupId(0)]);
    Ok(RuleSet {
        defaults: Defaults {
            identified: Action::Allow,
            unidentified: Action::Block(BlockKind::Alert),
        },
        groups: vec![Group {
            name: "Allow Skype".to_owned(),
            nets: vec![Net::new(Ipv4Addr::new(10, 20, 4, 0).into(), 24)?],
            groups: Vec::new(),
        }],
        rules: vec![
            rule(
                "except for members",
                vec![not_tls()],
                vec![members()],
                Action::Block(BlockKind::Page),
            ),
            rule(
                "members, not TLS",
                vec![not_tls(), members()],
                Vec::new(),
                Action::Allow,
            ),
            rule(
                "members, no name",
                vec![Condition::HostIsIp(true), members()],
                Vec::new(),
                Action::Allow,
            ),
        ],
    })
}

/// `count` rules that each block one name and whatever is below it.
///
/// # Errors
///
/// None in practice: a network that is none.
pub fn hosts(count: usize) -> Result<RuleSet, NetError> {
    let mut set = recipe()?;
    set.rules = (0..count)
        .map(|at| {
            let name = format!("site{at}.example");
            let patterns = vec![
                Some(HostPattern::Exact(name.as_str().into())),
                Some(HostPattern::Below(name.as_str().into())),
            ];
            rule(
                &name,
                vec![Condition::Host(patterns)],
                Vec::new(),
                Action::Block(BlockKind::Alert),
            )
        })
        .collect();
    Ok(set)
}

fn rule(name: &str, when: Vec<Condition>, unless: Vec<Condition>, action: Action) -> Rule {
    Rule {
        name: name.to_owned(),
        when,
        unless,
        body: RuleBody::Act {
            action,
            last: true,
            message: None,
        },
    }
}

/// A flow of a client outside the group, before its first bytes are known.
#[must_use]
pub fn opened() -> Facts<'static> {
    let client: IpAddr = Ipv4Addr::new(10, 20, 7, 14).into();
    Facts::opened(client, Ipv4Addr::new(203, 0, 113, 5).into(), 443)
}

/// The same flow with a hello for a name.
#[must_use]
pub fn hello(host: &str) -> Facts<'_> {
    opened().with_first_bytes(FirstBytes::Hello(Hello {
        host: Some(host),
        alpn: Alpn::from_wire(b"\x02h2\x08http/1.1"),
        ja4: "t13d1516h2_8daaf6152771_d8a2da3f94cd",
        ech: false,
    }))
}

/// The same flow with first bytes that are not TLS.
#[must_use]
pub fn not_tls() -> Facts<'static> {
    opened().with_first_bytes(FirstBytes::Other(NotNegotiated::Sslv2Hello))
}
