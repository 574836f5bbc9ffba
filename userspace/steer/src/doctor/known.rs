//! What is known of a packet, compared with what a rule asks for.

use serde_json::Value;

/// The three values of a condition.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl From<bool> for Truth {
    fn from(known: bool) -> Self {
        if known { Self::True } else { Self::False }
    }
}

impl Truth {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, Self::True) => Self::True,
            _ => Self::Unknown,
        }
    }

    pub(super) const fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// A value that is known of the packet, in the forms in which a rule may write it.
pub(super) enum Known<'a> {
    Name(&'a str),
    /// A number, and how many bits the field has.
    Number(u64, u32),
    Words(&'static [&'static str], u64),
    /// A field that the packet does not have.
    Other,
}

impl Known<'_> {
    /// Whether a rule that asks for `right` means this value.
    pub(super) fn is(&self, right: &Value) -> Truth {
        if matches!(self, Self::Other) {
            return Truth::False;
        }
        match right {
            // A named set.
            Value::String(word) if word.starts_with('@') => Truth::Unknown,
            Value::String(word) => self.is_word(word),
            Value::Number(number) => match self {
                Self::Number(known, _) | Self::Words(_, known) => number
                    .as_u64()
                    .map_or(Truth::Unknown, |number| (number == *known).into()),
                _ => Truth::Unknown,
            },
            Value::Array(any) => self.is_any(any),
            Value::Object(object) => {
                if let Some(any) = object.get("set").and_then(Value::as_array) {
                    return self.is_any(any);
                }
                if let Some(prefix) = object.get("prefix") {
                    return self.has_prefix(prefix);
                }
                match (
                    self,
                    object
                        .get("range")
                        .and_then(Value::as_array)
                        .map(Vec::as_slice),
                ) {
                    (Self::Number(known, _), Some([low, high])) => {
                        match (low.as_u64(), high.as_u64()) {
                            (Some(low), Some(high)) => (low..=high).contains(known).into(),
                            _ => Truth::Unknown,
                        }
                    }
                    _ => Truth::Unknown,
                }
            }
            _ => Truth::Unknown,
        }
    }

    /// How `nft` prints a comparison under a mask of leading bits.
    fn has_prefix(&self, prefix: &Value) -> Truth {
        let number = |key| prefix.get(key).and_then(Value::as_u64);
        match (self, number("addr"), number("len")) {
            (Self::Number(known, bits), Some(start), Some(length)) => {
                let rest = u64::from(*bits).saturating_sub(length);
                let top = |value: u64| value.checked_shr(u32::try_from(rest).unwrap_or(u32::MAX));
                (top(*known) == top(start)).into()
            }
            _ => Truth::Unknown,
        }
    }

    fn is_word(&self, word: &str) -> Truth {
        match self {
            Self::Name(name) => match word.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix).into(),
                None => (*name == word).into(),
            },
            Self::Words(words, _) => words.contains(&word).into(),
            // A service's name.
            Self::Number(port, _) => match word {
                "https" => (*port == 443).into(),
                "http" => (*port == 80).into(),
                _ => Truth::Unknown,
            },
            Self::Other => Truth::False,
        }
    }

    fn is_any(&self, values: &[Value]) -> Truth {
        values
            .iter()
            .fold(Truth::False, |any, value| match (any, self.is(value)) {
                (Truth::True, _) | (_, Truth::True) => Truth::True,
                (Truth::False, Truth::False) => Truth::False,
                _ => Truth::Unknown,
            })
    }
}
