//! The native protocol of journald: a datagram of fields.

use serde_json::Value;

use super::super::queue::Entry;

/// Bytes of a datagram up to which fields are added beside the record. Records are far smaller than
/// a socket's buffer, so that the memory files that the protocol has for large ones are not needed.
const LIMIT: usize = 160 << 10;

/// Longest name of a field, as journald has it.
const NAME: usize = 64;

/// Appends the datagram of an entry: the record as the message, and each of its fields by itself, so
/// that `journalctl SLUICE_VERDICT=block` finds them.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let priority = if entry.refused { "5" } else { "6" };
    field("MESSAGE", entry.json(), out);
    field("PRIORITY", priority.as_bytes(), out);
    field("SYSLOG_IDENTIFIER", b"sluice", out);
    field("SLUICE_KIND", entry.kind.name().as_bytes(), out);
    // What cannot be read is told whole in the message.
    if let Ok(Value::Object(fields)) = serde_json::from_slice(entry.json()) {
        let whole = out.len();
        for (key, value) in fields.iter().filter(|(key, _)| *key != "kind") {
            flatten(&format!("SLUICE_{}", name(key)), value, out);
        }
        if out.len() > LIMIT {
            out.truncate(whole);
        }
    }
}

fn name(key: &str) -> String {
    key.chars()
        .map(|c| match c.to_ascii_uppercase() {
            c @ ('A'..='Z' | '0'..='9') => c,
            _ => '_',
        })
        .collect()
}

fn flatten(key: &str, value: &Value, out: &mut Vec<u8>) {
    if key.len() > NAME {
        return;
    }
    match value {
        Value::Null => {}
        Value::String(text) => field(key, text.as_bytes(), out),
        Value::Bool(_) | Value::Number(_) => field(key, value.to_string().as_bytes(), out),
        // A field may be there several times.
        Value::Array(values) => values.iter().for_each(|value| flatten(key, value, out)),
        Value::Object(fields) => {
            for (inner, value) in fields {
                flatten(&format!("{key}_{}", name(inner)), value, out);
            }
        }
    }
}

/// Appends a field: on one line where its value is one, else with its length before it.
fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::entry;
    use super::*;

    /// Reads a datagram as journald does.
    fn decode(mut bytes: &[u8]) -> BTreeMap<String, Vec<String>> {
        let mut fields = BTreeMap::<String, Vec<String>>::new();
        while !bytes.is_empty() {
            let end = bytes
                .iter()
                .position(|byte| matches!(byte, b'=' | b'\n'))
                .unwrap();
            let name = std::str::from_utf8(&bytes[..end]).unwrap();
            let (value, rest) = if bytes[end] == b'=' {
                let length = bytes[end..].iter().position(|byte| *byte == b'\n').unwrap();
                (&bytes[end + 1..end + length], &bytes[end + length + 1..])
            } else {
                let (length, rest) = bytes[end + 1..].split_at(8);
                let length = u64::from_le_bytes(length.try_into().unwrap());
                let (value, rest) = rest.split_at(usize::try_from(length).unwrap());
                assert_eq!(rest[0], b'\n');
                (value, &rest[1..])
            };
            fields
                .entry(name.to_owned())
                .or_default()
                .push(String::from_utf8(value.to_vec()).unwrap());
            bytes = rest;
        }
        fields
    }

    #[test]
    fn fields_are_told_one_by_one_and_newlines_change_nothing() {
        let json = r#"{"v":1,"kind":"flow","rule":"a\nSLUICE_USER=root","user":null,"ech":false,"tags":["x","y"],"source":{"ip":"10.0.0.1"},"@timestamp":"t"}"#;
        let mut out = Vec::new();
        encode(&entry(json), &mut out);
        let fields = decode(&out);
        for (name, values) in [
            ("MESSAGE", &[json][..]),
            ("PRIORITY", &["5"]),
            ("SYSLOG_IDENTIFIER", &["sluice"]),
            ("SLUICE_V", &["1"]),
            ("SLUICE_KIND", &["flow"]),
            ("SLUICE_RULE", &["a\nSLUICE_USER=root"]),
            ("SLUICE_ECH", &["false"]),
            ("SLUICE_TAGS", &["x", "y"]),
            ("SLUICE_SOURCE_IP", &["10.0.0.1"]),
            ("SLUICE__TIMESTAMP", &["t"]),
        ] {
            assert_eq!(fields[name], values, "{name}");
        }
        assert_eq!(fields.len(), 10, "{fields:?}");
    }

    #[test]
    fn a_large_record_is_told_without_its_fields() {
        let json = format!("{{\"url\":\"{}\"}}", "x".repeat(100 << 10));
        let mut out = Vec::new();
        encode(&entry(&json), &mut out);
        let fields = decode(&out);
        assert_eq!(fields["MESSAGE"], [json]);
        assert!(!fields.contains_key("SLUICE_URL"));
    }
}
