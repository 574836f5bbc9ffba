//! Would nftables let a steered packet in?
//!
//! A steered packet keeps its destination (the origin's address and port) and is delivered
//! locally, so it meets the INPUT hook looking like nothing that a host firewall expects. Its way
//! through the base chains is followed with what is known of it; a condition on something else
//! counts as unknown.

use serde_json::Value;

use super::known::{Known, Truth};

/// What nftables says.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Firewall {
    /// There is no `nft` to ask.
    #[default]
    NoTool,
    /// `nft` could not be asked.
    Unreadable(String),
    /// What `nft -j list ruleset` prints.
    Ruleset(Value),
}

/// What is known of a steered packet.
#[derive(Clone, Copy, Debug)]
pub struct SteeredPacket<'a> {
    /// The LAN device.
    pub device: &'a str,
    /// IPv4, or else IPv6.
    pub v4: bool,
    /// TCP destination port.
    pub port: u16,
    /// The mark.
    pub mark: u32,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fate {
    /// It gets in.
    Accepted,
    /// It gets in only where a rule accepts it whose conditions are not understood.
    Doubtful,
    /// It does not get in.
    Refused,
}

/// The fate of a packet at one base chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChainFate {
    /// Family, table and chain, as `nft` takes them.
    pub chain: String,
    /// What becomes of the packet there.
    pub fate: Fate,
}

/// What one rule, or the rules of a chain, do to the packet.
enum Step {
    Accept,
    Refuse,
    Next,
    Return,
}

struct Walk<'a> {
    objects: &'a [Value],
    packet: SteeredPacket<'a>,
    // A rule that is not understood might have accepted the packet.
    doubtful: bool,
}

/// Jumps deeper than nftables itself allows are damaged rule sets.
const DEPTH: usize = 16;

impl Firewall {
    fn objects(&self) -> &[Value] {
        let Self::Ruleset(ruleset) = self else {
            return &[];
        };
        ruleset
            .get("nftables")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// What becomes of a steered packet at every base chain of the INPUT hook that it meets.
    #[must_use]
    pub fn input(&self, packet: SteeredPacket<'_>) -> Vec<ChainFate> {
        let objects = self.objects();
        let chains = objects
            .iter()
            .filter_map(|object| object.get("chain"))
            .filter(|chain| {
                text(chain, "hook") == Some("input")
                    && match text(chain, "family") {
                        Some("inet") => true,
                        Some("ip") => packet.v4,
                        Some("ip6") => !packet.v4,
                        _ => false,
                    }
            });
        let fate = |chain: &Value| -> Option<ChainFate> {
            let place = Place::of(chain, text(chain, "name")?)?;
            let mut walk = Walk {
                objects,
                packet,
                doubtful: false,
            };
            let refused = match walk.chain(place, DEPTH) {
                Step::Accept => false,
                Step::Refuse => true,
                Step::Next | Step::Return => text(chain, "policy") == Some("drop"),
            };
            let fate = match (refused, walk.doubtful) {
                (false, _) => Fate::Accepted,
                (true, true) => Fate::Doubtful,
                (true, false) => Fate::Refused,
            };
            let Place {
                family,
                table,
                chain,
            } = place;
            Some(ChainFate {
                chain: format!("{family} {table} {chain}"),
                fate,
            })
        };
        chains.filter_map(fate).collect()
    }

    /// The chains that set packet marks before routing, where they may undo sluice's.
    #[must_use]
    pub fn marking_chains(&self) -> Vec<String> {
        let objects = self.objects();
        let mut chains = Vec::new();
        for rule in objects.iter().filter_map(|object| object.get("rule")) {
            let sets_mark = expressions(rule).iter().any(|expression| {
                let word = |pointer| expression.pointer(pointer).and_then(Value::as_str);
                // Targets of iptables are named, and what they set is not told.
                word("/mangle/key/meta/key") == Some("mark")
                    || matches!(word("/xt/name"), Some("MARK" | "CONNMARK"))
                        && word("/xt/type") == Some("target")
            });
            let Some(place) = text(rule, "chain").and_then(|chain| Place::of(rule, chain)) else {
                continue;
            };
            let name = format!("{} {} {}", place.family, place.table, place.chain);
            if sets_mark && place.is_before_input(objects) && !chains.contains(&name) {
                chains.push(name);
            }
        }
        chains
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
struct Place<'a> {
    family: &'a str,
    table: &'a str,
    chain: &'a str,
}

impl<'a> Place<'a> {
    fn of(object: &'a Value, chain: &'a str) -> Option<Self> {
        Some(Self {
            family: text(object, "family")?,
            table: text(object, "table")?,
            chain,
        })
    }

    /// Whether a packet may meet the chain before the routing decision: not a base chain of a
    /// later hook.
    fn is_before_input(self, objects: &[Value]) -> bool {
        let chain = objects
            .iter()
            .filter_map(|object| object.get("chain"))
            .find(|chain| {
                text(chain, "name").and_then(|name| Place::of(chain, name)) == Some(self)
            });
        let hook = chain.and_then(|chain| text(chain, "hook"));
        matches!(hook, None | Some("ingress" | "prerouting"))
    }
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn expressions(rule: &Value) -> &[Value] {
    rule.get("expr")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

impl<'a> Walk<'a> {
    fn chain(&mut self, place: Place<'a>, depth: usize) -> Step {
        let Some(depth) = depth.checked_sub(1) else {
            return Step::Next;
        };
        let objects = self.objects;
        let rules = objects
            .iter()
            .filter_map(|object| object.get("rule"))
            .filter(|rule| {
                text(rule, "chain").and_then(|chain| Place::of(rule, chain)) == Some(place)
            });
        for rule in rules {
            match self.rule(expressions(rule), place, depth) {
                Step::Next => {}
                step => return step,
            }
        }
        Step::Next
    }

    fn rule(&mut self, expressions: &'a [Value], place: Place<'a>, depth: usize) -> Step {
        let mut truth = Truth::True;
        for expression in expressions {
            let Some((kind, body)) = expression
                .as_object()
                .and_then(|object| object.iter().next())
            else {
                continue;
            };
            match kind.as_str() {
                "match" => truth = truth.and(self.condition(body)),
                // A module of iptables; most of them test something.
                "xt" => truth = truth.and(Truth::Unknown),
                "accept" | "drop" | "reject" | "jump" | "goto" | "return" => {
                    return self.verdict(kind, body, truth, place, depth);
                }
                "vmap" | "queue" | "tproxy" | "limit" | "quota" => {
                    if truth != Truth::False {
                        self.doubtful = true;
                    }
                    truth = Truth::Unknown;
                }
                _ => {}
            }
            if truth == Truth::False {
                return Step::Next;
            }
        }
        Step::Next
    }

    fn verdict(
        &mut self,
        kind: &str,
        body: &'a Value,
        truth: Truth,
        place: Place<'a>,
        depth: usize,
    ) -> Step {
        if truth == Truth::False {
            return Step::Next;
        }
        let known = truth == Truth::True;
        match kind {
            "accept" if known => Step::Accept,
            "drop" | "reject" if known => Step::Refuse,
            "return" if known => Step::Return,
            "accept" => {
                self.doubtful = true;
                Step::Next
            }
            "jump" | "goto" => {
                let Some(chain) = text(body, "target") else {
                    return Step::Next;
                };
                let step = self.chain(Place { chain, ..place }, depth);
                match (step, known) {
                    (Step::Accept, false) => {
                        self.doubtful = true;
                        Step::Next
                    }
                    (step @ (Step::Accept | Step::Refuse), true) => step,
                    (Step::Next | Step::Return, true) if kind == "goto" => Step::Return,
                    _ => Step::Next,
                }
            }
            // Refusals under conditions that are not understood are about special packets.
            _ => Step::Next,
        }
    }

    fn condition(&self, body: &Value) -> Truth {
        let (Some(left), Some(right)) = (body.get("left"), body.get("right")) else {
            return Truth::Unknown;
        };
        let truth = match self.known(left) {
            Some(known) => known.is(right),
            None => Truth::Unknown,
        };
        match text(body, "op") {
            Some("==" | "in") => truth,
            Some("!=") => truth.not(),
            _ => Truth::Unknown,
        }
    }

    fn known(&self, left: &Value) -> Option<Known<'a>> {
        let packet = self.packet;
        if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
            return match key {
                "iifname" | "iif" => Some(Known::Name(packet.device)),
                "l4proto" => Some(Known::Words(&["tcp"], 6)),
                "nfproto" if packet.v4 => Some(Known::Words(&["ipv4"], 2)),
                "nfproto" => Some(Known::Words(&["ipv6"], 10)),
                "protocol" if packet.v4 => Some(Known::Words(&["ip"], 0x0800)),
                "protocol" => Some(Known::Words(&["ip6"], 0x86dd)),
                "mark" => Some(Known::Number(packet.mark.into(), 32)),
                _ => None,
            };
        }
        if left.pointer("/ct/key").and_then(Value::as_str) == Some("state") {
            return Some(Known::Words(&["new"], 8));
        }
        if let Some(payload) = left.get("payload") {
            return match (text(payload, "protocol"), text(payload, "field")) {
                (Some("tcp" | "th"), Some("dport")) => Some(Known::Number(packet.port.into(), 16)),
                (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => {
                    Some(Known::Words(&["tcp"], 6))
                }
                (Some("udp" | "icmp" | "icmpv6" | "sctp"), _) => Some(Known::Other),
                _ => None,
            };
        }
        let masked = left.get("&").and_then(Value::as_array)?;
        match masked.as_slice() {
            [inner, mask] => match self.known(inner)? {
                Known::Number(number, bits) => Some(Known::Number(number & mask.as_u64()?, bits)),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MARK: u32 = 0x5100_0000;

    fn fates(policy: &str, rules: &[Value]) -> Vec<Fate> {
        let place = |mut object: Value| {
            object["family"] = json!("inet");
            object["table"] = json!("filter");
            object
        };
        let chain = json!({"name": "input", "hook": "input", "type": "filter", "policy": policy});
        let mut objects = vec![json!({"metainfo": {}}), json!({"chain": place(chain)})];
        for rule in rules {
            let (chain, expr) = match rule {
                Value::Object(named) => (named["chain"].clone(), named["expr"].clone()),
                expr => (json!("input"), expr.clone()),
            };
            objects.push(json!({"rule": place(json!({"chain": chain, "expr": expr}))}));
        }
        let firewall = Firewall::Ruleset(json!({"nftables": objects}));
        let packet = SteeredPacket {
            device: "lan0",
            v4: true,
            port: 443,
            mark: MARK,
        };
        firewall
            .input(packet)
            .into_iter()
            .map(|chain| chain.fate)
            .collect()
    }

    fn when(left: &Value, right: &Value, verdict: &str) -> Value {
        json!([{"match": {"op": "==", "left": left, "right": right}}, {"counter": null}, {verdict: null}])
    }

    #[test]
    fn a_closed_input_chain_refuses_unless_a_rule_accepts() {
        let mark = json!({"&": [{"meta": {"key": "mark"}}, 0xff00_0000_u32]});
        let bare = json!({"meta": {"key": "mark"}});
        let device = json!({"meta": {"key": "iifname"}});
        let port = json!({"payload": {"protocol": "tcp", "field": "dport"}});
        let state = json!({"ct": {"key": "state"}});
        let source = json!({"payload": {"protocol": "ip", "field": "saddr"}});
        let cases = [
            ("drop", vec![], Fate::Refused),
            ("accept", vec![], Fate::Accepted),
            (
                "drop",
                vec![when(&mark, &json!(MARK), "accept")],
                Fate::Accepted,
            ),
            (
                "drop",
                vec![when(
                    &bare,
                    &json!({"prefix": {"addr": MARK, "len": 8}}),
                    "accept",
                )],
                Fate::Accepted,
            ),
            (
                "drop",
                vec![when(
                    &bare,
                    &json!({"prefix": {"addr": 0, "len": 8}}),
                    "accept",
                )],
                Fate::Refused,
            ),
            (
                "drop",
                vec![when(&mark, &json!(1), "accept")],
                Fate::Refused,
            ),
            (
                "drop",
                vec![when(&device, &json!("lan*"), "accept")],
                Fate::Accepted,
            ),
            (
                "drop",
                vec![when(&device, &json!("wan0"), "accept")],
                Fate::Refused,
            ),
            (
                "drop",
                vec![when(
                    &port,
                    &json!({"set": [22, {"range": [400, 500]}]}),
                    "accept",
                )],
                Fate::Accepted,
            ),
            (
                "drop",
                vec![when(&port, &json!({"set": [22, 80]}), "accept")],
                Fate::Refused,
            ),
            (
                "drop",
                vec![when(&state, &json!(["established", "related"]), "accept")],
                Fate::Refused,
            ),
            (
                "drop",
                vec![when(&source, &json!("10.0.0.1"), "accept")],
                Fate::Doubtful,
            ),
            (
                "accept",
                vec![when(&source, &json!("10.0.0.1"), "drop")],
                Fate::Accepted,
            ),
            (
                "accept",
                vec![when(&device, &json!("lan0"), "reject")],
                Fate::Refused,
            ),
            (
                "drop",
                vec![json!([{"xt": {"type": "match", "name": "mark"}}, {"accept": null}])],
                Fate::Doubtful,
            ),
        ];
        for (number, (policy, rules, fate)) in cases.into_iter().enumerate() {
            assert_eq!(fates(policy, &rules), [fate], "case {number}");
        }
    }

    #[test]
    fn jumps_are_followed_and_endless_ones_end() {
        let jump = |chain: &str, target: &str| json!({"chain": chain, "expr": [{"jump": {"target": target}}]});
        let accept = json!({"chain": "lan", "expr": [{"accept": null}]});
        assert_eq!(
            fates("drop", &[jump("input", "lan"), accept]),
            [Fate::Accepted]
        );
        assert_eq!(
            fates("drop", &[jump("input", "lan"), jump("lan", "lan")]),
            [Fate::Refused]
        );
    }

    #[test]
    fn a_chain_that_sets_marks_before_routing_is_found() {
        let rule = |chain: &str| {
            json!({"rule": {"family": "ip", "table": "mangle", "chain": chain, "expr": [
                {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"ct": {"key": "mark"}}}}]}})
        };
        let chain = |hook: &str| json!({"chain": {"family": "ip", "table": "mangle", "name": hook, "hook": hook}});
        let firewall = Firewall::Ruleset(json!({"nftables": [
            chain("prerouting"), chain("output"), rule("prerouting"), rule("output"), rule("prerouting"),
        ]}));
        assert_eq!(firewall.marking_chains(), ["ip mangle prerouting"]);
        let xt = |kind: &str| {
            let rule = json!({"rule": {"family": "ip", "table": "mangle", "chain": "prerouting", "expr": [
                {"xt": {"type": kind, "name": "MARK"}}]}});
            Firewall::Ruleset(json!({"nftables": [chain("prerouting"), rule]}))
        };
        assert_eq!(xt("target").marking_chains(), ["ip mangle prerouting"]);
        assert!(xt("match").marking_chains().is_empty());
    }
}
