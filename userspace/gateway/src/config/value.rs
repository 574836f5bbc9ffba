//! Texts to values: durations, sizes, rates, marks, protocols, devices.

use std::{fmt, time::Duration};

use sluice_abi::Marks;

/// A device behind which clients are, or the beginning of the names of several.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DevicePattern {
    start: String,
    open: bool,
}

impl DevicePattern {
    /// Whether a device of this name is meant.
    #[must_use]
    pub fn matches(&self, device: &str) -> bool {
        if self.open {
            device.starts_with(&self.start)
        } else {
            device == self.start
        }
    }

    /// The name, where exactly one device is meant.
    #[must_use]
    pub fn single(&self) -> Option<&str> {
        (!self.open).then_some(self.start.as_str())
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.start, if self.open { "*" } else { "" })
    }
}

/// Longest name of a network device, IFNAMSIZ without its end.
const DEVICE_NAME: usize = 15;

pub(super) fn device(text: &str) -> Result<DevicePattern, String> {
    let (start, open) = match text.strip_suffix('*') {
        Some(start) => (start, true),
        None => (text, false),
    };
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '*' | '?' | '[' | ':');
    if !(1..=DEVICE_NAME).contains(&start.len()) || !start.chars().all(allowed) {
        return Err(
            "expected the name of a device such as \"lan0\", or the beginning of several \
                    such as \"vlan*\""
                .into(),
        );
    }
    if matches!(start, "lo" | "." | "..") {
        return Err("clients are never behind this device: name the LAN device".into());
    }
    Ok(DevicePattern {
        start: start.to_owned(),
        open,
    })
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a duration such as \"250ms\", \"5s\", \"10m\", \"1h\" or \
                            \"7d\"";
    let (number, unit) = number_and_unit(text).ok_or(EXPECTED)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(EXPECTED.into()),
    };
    // Timers far beyond a year only hide a mistake, and some clocks cannot add them.
    const MOST: u64 = 366 * 86_400_000;
    match number.checked_mul(factor) {
        Some(millis) if millis <= MOST => Ok(Duration::from_millis(millis)),
        _ => Err("a duration of more than 366 days: write a shorter one".into()),
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a size such as \"512B\", \"64KiB\" or \"1MiB\"";
    let (number, unit) = number_and_unit(text).ok_or(EXPECTED)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(EXPECTED.into()),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| EXPECTED.into())
}

pub(super) fn per_second(text: &str) -> Result<u32, String> {
    const EXPECTED: &str = "expected a rate such as \"100/s\", from 1 to 1000000 in a second";
    let number = text
        .strip_suffix("/s")
        .filter(|number| is_digits(number))
        .ok_or(EXPECTED)?;
    match number.parse() {
        Ok(rate @ 1..=1_000_000) => Ok(rate),
        _ => Err(EXPECTED.into()),
    }
}

pub(super) fn marks(text: &str) -> Result<Marks, String> {
    let hex = |part: &str| {
        let digits = part.strip_prefix("0x")?;
        if digits.starts_with('+') {
            return None;
        }
        u32::from_str_radix(digits, 16).ok()
    };
    let parts = text
        .split_once('/')
        .and_then(|(value, mask)| hex(value).zip(hex(mask)));
    let Some((value, mask)) = parts else {
        return Err("expected a mark and a mask such as \"0x51000000/0xff000000\"".into());
    };
    Marks::new(value, mask).ok_or_else(|| {
        "the mark must lie inside the mask and be more than the mask's lowest bit, which tells \
         sluice's own packets, as in \"0x51000000/0xff000000\""
            .into()
    })
}

/// Transport protocols that may be named, with the numbers that IANA assigns them.
pub(super) const PROTOCOLS: [(&str, u8); 17] = [
    ("ipip", 4),
    ("egp", 8),
    ("dccp", 33),
    ("6in4", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("eigrp", 88),
    ("ospf", 89),
    ("etherip", 97),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

pub(super) fn protocol(text: &str) -> Result<u8, String> {
    let number = if is_digits(text) {
        text.parse().ok()
    } else {
        match text {
            "tcp" => Some(6),
            "udp" => Some(17),
            "icmp" => Some(1),
            "icmpv6" => Some(58),
            "igmp" => Some(2),
            _ => PROTOCOLS
                .iter()
                .find_map(|&(name, number)| (name == text).then_some(number)),
        }
    };
    match number {
        Some(6 | 17) => Err("TCP and UDP are named by their ports: use `tcp` or `udp`".into()),
        Some(1 | 2 | 58) => {
            Err("ICMP, ICMPv6 and IGMP have rules of their own: see `icmp_rate`".into())
        }
        // RFC 8200 section 4; walked through, never judged.
        Some(0 | 43 | 44 | 60) => {
            Err("an IPv6 extension header is no transport protocol: take it out".into())
        }
        Some(number) => Ok(number),
        None => {
            let names: Vec<_> = PROTOCOLS
                .iter()
                .map(|&(name, _)| format!("\"{name}\""))
                .collect();
            Err(format!(
                "expected a number from 0 to 255 or one of {}",
                names.join(", ")
            ))
        }
    }
}

/// The name of a protocol for people.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    PROTOCOLS
        .iter()
        .find_map(|&(name, candidate)| (candidate == number).then(|| name.to_owned()))
        .unwrap_or_else(|| format!("protocol {number}"))
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes a duration as the configuration has it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let whole = units
        .iter()
        .find(|&&(factor, _)| millis > 0 && millis.is_multiple_of(factor));
    match whole {
        Some((factor, unit)) => format!("{}{unit}", millis / factor),
        None if millis == 0 => "0s".into(),
        None => format!("{millis}ms"),
    }
}

/// Writes a size as the configuration has it.
#[must_use]
pub fn show_size(size: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units
        .iter()
        .find(|&&(shift, _)| size > 0 && size.is_multiple_of(1 << shift));
    match whole {
        Some((shift, unit)) => format!("{}{unit}", size >> shift),
        None => format!("{size}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_and_written() {
        for text in ["250ms", "5s", "10m", "1h", "7d", "0s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "5sec",
            "99999999999999999999s",
            "400d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["1B", "64KiB", "1MiB", "2GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        for text in ["64", "64KB", "64 KiB", "99999999999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_marks_and_protocols_are_read() {
        assert_eq!(per_second("100/s"), Ok(100));
        assert!(
            ["0/s", "100", "+1/s", "1/m", "1000001/s"]
                .iter()
                .all(|t| per_second(t).is_err())
        );
        assert_eq!(marks("0x51000000/0xff000000").unwrap().steer, 0x5100_0000);
        for text in ["0x1/0x1", "51/ff", "0x51000000", "0x+1/0xff"] {
            assert!(marks(text).is_err(), "{text}");
        }
        assert_eq!(protocol("esp"), Ok(50));
        assert_eq!(protocol("132"), Ok(132));
        assert!(
            ["tcp", "1", "44", "256", "-1", "foo"]
                .iter()
                .all(|t| protocol(t).is_err())
        );
    }

    #[test]
    fn device_patterns_match_names() {
        assert!(device("vlan*").unwrap().matches("vlan12"));
        assert!(!device("vlan*").unwrap().matches("wan0"));
        assert!(device("lan0").unwrap().matches("lan0"));
        assert!(!device("lan0").unwrap().matches("lan01"));
        for text in ["", "*", "lo", "a/b", "a*b", "much-too-long-a-name", "eth 0"] {
            assert!(device(text).is_err(), "{text}");
        }
    }
}
