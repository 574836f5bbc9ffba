//! Policy routing: what carries the steering mark goes to the local stack.
//!
//! For each family one rule (`fwmark VALUE/MASK lookup TABLE`) and one route in that table
//! (`local default dev lo`), both marked with a protocol number of sluice's own, so that they can
//! be found and removed exactly and nobody else's are touched.

use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::{
    IpVersion, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};
use rustix::io::Errno;
use sluice_abi::Marks;

use crate::{
    Error,
    netlink::{Netlink, errno},
};

/// The routing protocol number that marks sluice's rules and routes; `ip` prints it as `proto 83`.
pub const PROTOCOL: u8 = 0x53;

/// Priority of the rules: after the local table's, before any that an administrator is likely to
/// have.
pub const PRIORITY: u32 = 51;

const FAMILIES: [IpVersion; 2] = [IpVersion::V4, IpVersion::V6];

/// What the routing of steered packets looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Routing {
    /// The marks; packets with the steering one are routed.
    pub marks: Marks,
    /// The table that holds the local route.
    pub table: u32,
}

impl Routing {
    fn is_wanted(&self, rule: &Rule) -> bool {
        rule.owned
            && rule.mark == self.marks.steer
            && rule.mask == self.marks.mask
            && rule.table == self.table
            && rule.priority == PRIORITY
    }
}

/// A rule, as far as sluice reads one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Order; smaller comes first.
    pub priority: u32,
    /// The mark it asks for; 0 with mask 0 where it asks for none.
    pub mark: u32,
    /// The bits of the mark it looks at.
    pub mask: u32,
    /// The table it leads to; 0 for rules that lead to none.
    pub table: u32,
    /// Whether it is sluice's.
    pub owned: bool,
    /// Whether it applies to packets of any address, device, user, protocol and port.
    pub general: bool,
}

impl From<&RuleMessage> for Rule {
    fn from(message: &RuleMessage) -> Self {
        let mut rule = Self {
            priority: 0,
            mark: 0,
            mask: 0,
            table: message.header.table.into(),
            owned: false,
            general: message.header.src_len == 0 && message.header.dst_len == 0,
        };
        let mut mask = None;
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::FwMark(mark) => rule.mark = *mark,
                RuleAttribute::FwMask(bits) => mask = Some(*bits),
                RuleAttribute::Table(table) => rule.table = *table,
                RuleAttribute::Protocol(protocol) => {
                    rule.owned = u8::from(*protocol) == PROTOCOL;
                }
                RuleAttribute::Iifname(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::UidRange(_)
                | RuleAttribute::IpProtocol(_)
                | RuleAttribute::SourcePortRange(_)
                | RuleAttribute::DestinationPortRange(_) => rule.general = false,
                _ => {}
            }
        }
        rule.mask = mask.unwrap_or(if rule.mark == 0 { 0 } else { u32::MAX });
        if message.header.action != RuleAction::ToTable {
            rule.table = 0;
        }
        rule
    }
}

/// Makes rules and routes as wanted, whatever of them is there already, and removes sluice's own
/// that are not.
pub(crate) async fn ensure(netlink: &Netlink, routing: Routing) -> Result<(), Error> {
    for family in FAMILIES {
        match ensure_family(netlink, routing, family.clone()).await {
            Err(Error::Netlink { source, .. })
                if family == IpVersion::V6 && is_family_missing(&source) =>
            {
                tracing::debug!("the kernel has no IPv6: no rule and no route for it");
            }
            done => done?,
        }
    }
    Ok(())
}

async fn ensure_family(
    netlink: &Netlink,
    routing: Routing,
    family: IpVersion,
) -> Result<(), Error> {
    // The route first: a rule that leads to an empty table lets packets fall through to the main
    // one.
    let routes = routes(netlink, &family, routing.table).await?;
    if !routes.iter().any(is_local_route) {
        let route = local_route(&family, routing.table, loopback(netlink).await?);
        netlink
            .handle
            .route()
            .add(route)
            .execute()
            .await
            .map_err(Error::netlink(
                "add the local route for steered packets (is lo up, and the table free?)",
            ))?;
    }
    let mut present = false;
    for message in rules(netlink, family.clone()).await? {
        let rule = Rule::from(&message);
        if routing.is_wanted(&rule) && !present {
            present = true;
        } else if rule.owned {
            remove_rule(netlink, message).await?;
            if rule.table != routing.table {
                remove_routes(netlink, &family, rule.table).await?;
            }
        }
    }
    if !present {
        add_rule(netlink, routing, family).await?;
    }
    Ok(())
}

/// Removes every rule and route that is sluice's, in both families; says how many there were.
///
/// `table` is looked at also when no rule leads to it.
pub(crate) async fn remove(netlink: &Netlink, table: u32) -> Result<usize, Error> {
    let mut removed = 0;
    for family in FAMILIES {
        let mut tables = vec![table];
        let messages = match rules(netlink, family.clone()).await {
            Err(Error::Netlink { source, .. }) if is_family_missing(&source) => continue,
            messages => messages?,
        };
        for message in messages {
            let rule = Rule::from(&message);
            if rule.owned {
                remove_rule(netlink, message).await?;
                removed += 1;
                if !tables.contains(&rule.table) {
                    tables.push(rule.table);
                }
            }
        }
        for table in tables {
            removed += remove_routes(netlink, &family, table).await?;
        }
    }
    Ok(removed)
}

/// Every rule of both families.
pub(crate) async fn all_rules(netlink: &Netlink) -> Result<Vec<Rule>, Error> {
    let mut all = Vec::new();
    for family in FAMILIES {
        match rules(netlink, family).await {
            Err(Error::Netlink { source, .. }) if is_family_missing(&source) => {}
            messages => all.extend(messages?.iter().map(Rule::from)),
        }
    }
    Ok(all)
}

/// How many routes in a table are not sluice's, in both families.
pub(crate) async fn foreign_routes(netlink: &Netlink, table: u32) -> Result<usize, Error> {
    let mut foreign = 0;
    for family in FAMILIES {
        match routes(netlink, &family, table).await {
            Err(Error::Netlink { source, .. }) if is_family_missing(&source) => {}
            routes => {
                let routes = routes?;
                let others = routes.iter().filter(|route| !is_local_route(route));
                foreign += others.count();
            }
        }
    }
    Ok(foreign)
}

async fn routes(
    netlink: &Netlink,
    family: &IpVersion,
    table: u32,
) -> Result<Vec<RouteMessage>, Error> {
    let mut request = RouteMessage::default();
    request.header.address_family = address_family(family);
    request.attributes.push(RouteAttribute::Table(table));
    match netlink
        .handle
        .route()
        .get(request)
        .execute()
        .try_collect()
        .await
    {
        // The table does not exist.
        Err(error) if errno(&error) == Some(Errno::NOENT) => Ok(Vec::new()),
        routes => routes.map_err(Error::netlink("list routes")),
    }
}

fn is_local_route(route: &RouteMessage) -> bool {
    u8::from(route.header.protocol) == PROTOCOL
        && route.header.kind == RouteType::Local
        && route.header.destination_prefix_length == 0
}

async fn rules(netlink: &Netlink, family: IpVersion) -> Result<Vec<RuleMessage>, Error> {
    netlink
        .handle
        .rule()
        .get(family)
        .execute()
        .try_collect()
        .await
        .map_err(Error::netlink("list routing rules"))
}

async fn add_rule(netlink: &Netlink, routing: Routing, family: IpVersion) -> Result<(), Error> {
    let mut request = netlink.handle.rule().add();
    let message = request.message_mut();
    message.header.family = address_family(&family);
    message.header.action = RuleAction::ToTable;
    message.header.table = 0;
    message.attributes.extend([
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::FwMark(routing.marks.steer),
        RuleAttribute::FwMask(routing.marks.mask),
        RuleAttribute::Table(routing.table),
        RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
    ]);
    match request.execute().await {
        Err(error) if errno(&error) == Some(Errno::EXIST) => Ok(()),
        done => done.map_err(Error::netlink("add the routing rule for steered packets")),
    }
}

async fn remove_rule(netlink: &Netlink, message: RuleMessage) -> Result<(), Error> {
    match netlink.handle.rule().del(message).execute().await {
        Err(error) if errno(&error) == Some(Errno::NOENT) => Ok(()),
        done => done.map_err(Error::netlink("remove a routing rule")),
    }
}

/// Removes sluice's routes from a table; says how many there were.
async fn remove_routes(netlink: &Netlink, family: &IpVersion, table: u32) -> Result<usize, Error> {
    let mut routes = match routes(netlink, family, table).await {
        Err(Error::Netlink { source, .. }) if is_family_missing(&source) => return Ok(0),
        routes => routes?,
    };
    routes.retain(is_local_route);
    let found = routes.len();
    for route in routes {
        match netlink.handle.route().del(route).execute().await {
            Err(error) if matches!(errno(&error), Some(Errno::SRCH | Errno::NOENT)) => {}
            done => done.map_err(Error::netlink("remove the local route"))?,
        }
    }
    Ok(found)
}

/// Index of the loopback device, which every network namespace makes first.
async fn loopback(netlink: &Netlink) -> Result<u32, Error> {
    let devices = netlink.devices().await?;
    Ok(devices
        .iter()
        .find(|device| device.name == "lo")
        .map_or(1, |device| device.index))
}

/// `local default dev lo table TABLE proto 83`.
fn local_route(family: &IpVersion, table: u32, loopback: u32) -> RouteMessage {
    fn build<T>(builder: RouteMessageBuilder<T>, table: u32, loopback: u32) -> RouteMessage {
        builder
            .table_id(table)
            .protocol(RouteProtocol::from(PROTOCOL))
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .output_interface(loopback)
            .build()
    }
    match family {
        IpVersion::V4 => build(RouteMessageBuilder::<Ipv4Addr>::new(), table, loopback),
        IpVersion::V6 => build(RouteMessageBuilder::<Ipv6Addr>::new(), table, loopback),
    }
}

const fn address_family(family: &IpVersion) -> AddressFamily {
    match family {
        IpVersion::V4 => AddressFamily::Inet,
        IpVersion::V6 => AddressFamily::Inet6,
    }
}

fn is_family_missing(error: &rtnetlink::Error) -> bool {
    matches!(errno(error), Some(Errno::AFNOSUPPORT | Errno::OPNOTSUPP))
}
