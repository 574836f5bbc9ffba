//! Facts as people and programs give them, by their JSON names.

use std::{borrow::Cow, fmt, net::IpAddr};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use sluice_policy::{
    Alpn, CertificateState, CertificateStates, Connect, Facts, HostError, Inner, Listener,
    NotNegotiated, Policy, Request, Stage, Tls, TlsVersion, TlsVersions, host::canonical, normal,
};

use crate::config::near_miss;

/// A fact that was not named, was named absent, or has a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<T> {
    /// Nobody spoke of it.
    #[default]
    Unnamed,
    /// `null`: it is absent.
    Absent,
    /// It has a value.
    Is(T),
}

impl<T> Field<T> {
    /// The value.
    pub const fn get(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Unnamed | Self::Absent => None,
        }
    }

    /// Whether somebody spoke of it.
    pub const fn is_named(&self) -> bool {
        !matches!(self, Self::Unnamed)
    }
}

impl<T> From<Option<T>> for Field<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unnamed, Self::Is)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Absent, Self::Is))
    }
}

/// A text that is borrowed from the line where nothing in it is escaped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

/// One text or several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts<'a>(pub Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Several;
        impl<'de> Visitor<'de> for Several {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Text(Cow::Borrowed(text))]))
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Text(Cow::Owned(text.to_owned()))]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts<'de>, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(Several)
    }
}

/// Header fields, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields<'a>(pub Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of header fields, such as {\"accept\":\"text/html\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, values)) = map.next_entry::<Text<'de>, Texts<'de>>()? {
                    let values = values.0.into_iter();
                    fields.extend(values.map(|value| (name.clone(), value)));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A time in seconds since 1970, written so or as RFC 3339 has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time(pub i64);

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seconds) = text.parse() {
            return Ok(Self(seconds));
        }
        text.parse::<jiff::Timestamp>()
            .map(|time| Self(time.as_second()))
            .map_err(|_| {
                format!(
                    "\"{text}\": expected a time such as \"2026-03-02T10:00:00Z\", or seconds since 1970"
                )
            })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Moment;
        impl Visitor<'_> for Moment {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"2026-03-02T10:00:00Z\", or seconds since 1970")
            }

            fn visit_i64<E>(self, seconds: i64) -> Result<Time, E> {
                Ok(Time(seconds))
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Time, E> {
                i64::try_from(seconds).map(Time).map_err(E::custom)
            }

            fn visit_f64<E>(self, seconds: f64) -> Result<Time, E> {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the part of a second is not wanted"
                )]
                Ok(Time(seconds.floor() as i64))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Moment)
    }
}

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Address(pub IpAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        text.0.parse().map(Self).map_err(|_| {
            D::Error::custom(format!(
                "\"{}\": expected an address such as \"10.20.4.7\" or \"2001:db8::7\"",
                text.0
            ))
        })
    }
}

/// Names every fact once: its field, its JSON name, its type, and the stage that makes it known.
macro_rules! facts {
    ($($(#[$doc:meta])* $field:ident: $type:ty, $stage:ident;)*) => {
        /// What is given of one flow.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default, bound(deserialize = "'de: 'a"))]
        pub struct Given<'a> {
            /// How deep one has looked.
            pub stage: Field<Text<'a>>,
            $($(#[$doc])* pub $field: Field<$type>,)*
        }

        impl Given<'_> {
            /// The JSON names, in alphabetical order but for the stage.
            pub const NAMES: &'static [&'static str] = &["stage", $(stringify!($field)),*];

            /// The deepest stage that something given belongs to.
            #[must_use]
            pub fn deepest(&self) -> Stage {
                let mut deepest = Stage::Packet;
                $(if self.$field.is_named() && Stage::$stage > deepest {
                    deepest = Stage::$stage;
                })*
                deepest
            }
        }
    };
}

facts! {
    /// The application protocols of the hello.
    alpn: Texts<'a>, Hello;
    /// What first bytes that are not TLS are.
    application: Text<'a>, Hello;
    /// The states of the origin's certificate.
    certificate: Texts<'a>, Certificate;
    /// The client's address.
    client: Address, Packet;
    /// Whether the origin asks for a client certificate.
    client_certificate: bool, Certificate;
    /// The name or address of a CONNECT.
    connect_host: Text<'a>, Open;
    /// The port of a CONNECT.
    connect_port: u16, Open;
    /// The User-Agent of a CONNECT.
    connect_user_agent: Text<'a>, Open;
    /// The media type of a request's body.
    content_type: Text<'a>, Request;
    /// The address that the client dialled.
    destination: Address, Packet;
    /// Whether the hello offers Encrypted ClientHello.
    ech: bool, Hello;
    /// Groups that the client is in, besides those that the configuration says.
    groups: Texts<'a>, Open;
    /// The header fields of a request.
    headers: Fields<'a>, Request;
    /// The server name.
    host: Text<'a>, Hello;
    /// Whether the target was an address.
    host_is_ip: bool, Hello;
    /// Whether CONNECT and hello name different servers.
    host_mismatch: bool, Hello;
    /// What the client speaks inside TLS.
    inner: Text<'a>, Request;
    /// Whether the request was read by decrypting.
    inspected: bool, Request;
    /// Who issued the origin's certificate.
    issuer: Text<'a>, Certificate;
    /// The fingerprint of the hello.
    ja4: Text<'a>, Hello;
    /// "transparent", or the name of a proxy listener.
    listener: Text<'a>, Open;
    /// The method of a request.
    method: Text<'a>, Request;
    /// The port that the client dialled.
    port: u16, Packet;
    /// The length of a request's body.
    size: u64, Request;
    /// When the flow was opened.
    time: Time, Open;
    /// What is known of the negotiation.
    tls: Text<'a>, Hello;
    /// The versions that the hello offers.
    tls_version: Texts<'a>, Hello;
    /// The version that the origin chose.
    tls_version_chosen: Text<'a>, ServerHello;
    /// The URL of a request.
    url: Text<'a>, Request;
    /// Who the client is.
    user: Text<'a>, Open;
    /// The User-Agent of a request.
    user_agent: Text<'a>, Request;
}

/// A key whose value is none, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{key}`: {message}")]
pub struct Bad {
    /// The key.
    pub key: &'static str,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// What [`Facts`] borrow from.
#[derive(Debug)]
pub struct Prepared<'g> {
    given: &'g Given<'g>,
    stage: Stage,
    groups: Vec<Box<str>>,
    headers: Vec<(&'g str, &'g str)>,
    alpn: Option<Vec<u8>>,
    host: Option<Cow<'g, str>>,
    connect_host: Option<Cow<'g, str>>,
    url: Option<String>,
    tls: Option<Tls>,
    versions: TlsVersions,
    chosen: Option<TlsVersion>,
    certificate: CertificateStates,
    inner: Option<Inner<'g>>,
    listener: Option<Listener<'g>>,
}

impl<'g> Given<'g> {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people to read.
    pub fn read(line: &'g str) -> Result<Self, String> {
        // A structure could also be read from an array, in the order of its fields.
        if !line.trim_start().starts_with('{') {
            return Err(diagnose(line, None));
        }
        serde_json::from_str(line).map_err(|error| diagnose(line, Some(&error)))
    }

    /// Reads the words.
    ///
    /// # Errors
    ///
    /// The first key whose value is none.
    pub fn prepare(&'g self) -> Result<Prepared<'g>, Bad> {
        let stage = match self.stage.get() {
            None => self.deepest(),
            Some(Text(name)) => word("stage", name, Stage::from_name, Stage::ALL.map(Stage::name))?,
        };
        let tls_names = || {
            ["hello", "negotiated"]
                .into_iter()
                .chain(NotNegotiated::ALL.map(NotNegotiated::name))
        };
        let tls = self
            .tls
            .get()
            .map(|Text(name)| word("tls", name, Tls::from_name, tls_names()));
        let version = |key, name: &str| {
            word(
                key,
                name,
                TlsVersion::from_name,
                TlsVersion::ALL.map(TlsVersion::name),
            )
        };
        let versions = texts(&self.tls_version).map(|name| version("tls_version", name));
        let states = texts(&self.certificate).map(|name| {
            let names = CertificateState::ALL.map(CertificateState::name);
            word("certificate", name, CertificateState::from_name, names)
        });
        let host = |key, field: &'g Field<Text<'g>>| {
            field
                .get()
                .map(|Text(name)| server_name(key, name))
                .transpose()
        };
        let connect_host = host("connect_host", &self.connect_host)?;
        let named = host("host", &self.host)?;
        let tls = tls.transpose()?;
        let host = match self.host {
            Field::Unnamed => connect_host.clone(),
            _ => named,
        };
        Ok(Prepared {
            given: self,
            stage,
            groups: texts(&self.groups).map(Into::into).collect(),
            headers: self
                .headers
                .get()
                .into_iter()
                .flat_map(|fields| &fields.0)
                .map(|(name, value)| (&*name.0, &*value.0))
                .collect(),
            alpn: self.alpn.get().map(|names| wire(&names.0)).transpose()?,
            url: self
                .url
                .get()
                .map(|Text(text)| url(text, tls, host.as_deref()))
                .transpose()?,
            host,
            connect_host,
            tls,
            versions: TlsVersions::of(versions.collect::<Result<Vec<_>, _>>()?),
            chosen: self
                .tls_version_chosen
                .get()
                .map(|Text(name)| version("tls_version_chosen", name))
                .transpose()?,
            certificate: CertificateStates::of(states.collect::<Result<Vec<_>, _>>()?),
            inner: self.inside()?,
            listener: self.listener.get().map(|Text(name)| match &**name {
                "transparent" => Listener::Transparent,
                name => Listener::Proxy(name),
            }),
        })
    }
}

impl Prepared<'_> {
    /// The facts. Who the client is comes from the policy where nobody says it.
    #[must_use]
    pub fn facts<'f>(&'f self, policy: &'f Policy) -> Facts<'f> {
        let given = self.given;
        let text = |field: &'f Field<Text<'f>>| field.get().map(|text| &*text.0);
        let client = given.client.get().map(|address| address.0);
        let mut facts = Facts::at(self.stage);
        facts.client = client;
        facts.destination = given.destination.get().map(|address| address.0);
        facts.port = given.port.get().copied();
        facts.listener = self.listener;
        facts.user = match given.user {
            Field::Unnamed => client.and_then(|client| policy.user_at(client)),
            _ => text(&given.user),
        };
        facts.groups = &self.groups;
        facts.time = given.time.get().map(|time| time.0);
        let connect = Connect {
            host: self.connect_host.as_deref(),
            port: given.connect_port.get().copied(),
            user_agent: text(&given.connect_user_agent),
        };
        // What is said to be absent of a CONNECT is said of one.
        let of_tunnel = given.connect_host.is_named()
            || given.connect_port.is_named()
            || given.connect_user_agent.is_named();
        facts.connect = of_tunnel.then_some(connect);
        facts.host = self.host.as_deref();
        facts.host_is_ip = given.host_is_ip.get().copied();
        facts.host_mismatch = given.host_mismatch.get().copied();
        facts.tls = self.tls;
        facts.tls_versions = self.versions;
        facts.alpn = self.alpn.as_deref().map_or(Alpn::ABSENT, Alpn::from_wire);
        facts.ja4 = text(&given.ja4);
        facts.ech = given.ech.get().copied();
        facts.application = text(&given.application);
        facts.tls_version_chosen = self.chosen;
        facts.certificate = self.certificate;
        facts.issuer = text(&given.issuer);
        facts.client_certificate = given.client_certificate.get().copied();
        facts.request = Request {
            inner: self.inner,
            inspected: given.inspected.get().copied(),
            url: self.url.as_deref(),
            method: text(&given.method),
            headers: &self.headers,
            user_agent: text(&given.user_agent),
            content_type: text(&given.content_type),
            size: given.size.get().copied(),
        };
        facts
    }
}

fn texts<'g>(field: &'g Field<Texts<'g>>) -> impl Iterator<Item = &'g str> {
    field
        .get()
        .into_iter()
        .flat_map(|texts| &texts.0)
        .map(|text| &*text.0)
}

/// Reads one of a few words.
fn word<T>(
    key: &'static str,
    written: &str,
    read: impl Fn(&str) -> Option<T>,
    words: impl IntoIterator<Item = &'static str>,
) -> Result<T, Bad> {
    read(written).ok_or_else(|| {
        let words: Vec<_> = words.into_iter().collect();
        let message = match near_miss(written, words.iter().copied()) {
            Some(near) => format!("\"{written}\" is unknown: did you mean \"{near}\"?"),
            None => format!(
                "\"{written}\" is unknown: expected one of {}",
                words.join(", ")
            ),
        };
        Bad { key, message }
    })
}

/// A server name as a hello carries it, or an address.
fn server_name<'g>(key: &'static str, name: &'g str) -> Result<Cow<'g, str>, Bad> {
    match canonical(name) {
        Ok(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Ok(name.to_ascii_lowercase().into())
        }
        Ok(name) => Ok(name),
        Err(HostError::Address) => Ok(name.into()),
        Err(_) if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() => Ok(name.into()),
        Err(_) => Err(Bad {
            key,
            message: format!(
                "\"{name}\": expected a server name such as \"www.example.com\", or an address"
            ),
        }),
    }
}

/// The URL in its normal form, as rules see that of a request.
fn url(text: &str, tls: Option<Tls>, host: Option<&str>) -> Result<String, Bad> {
    let whole = match host {
        _ if text.contains("://") => Cow::Borrowed(text),
        Some(host) if text.starts_with('/') => {
            let clear = matches!(tls, Some(Tls::Not(why)) if !why.follows_hello());
            let scheme = if clear { "http" } else { "https" };
            format!("{scheme}://{host}{text}").into()
        }
        _ => {
            return Err(Bad {
                key: "url",
                message: format!(
                    "\"{text}\": expected a whole URL such as \"https://www.example.com/path\""
                ),
            });
        }
    };
    normal::url(&whole).map_err(|error| Bad {
        key: "url",
        message: format!("\"{text}\": a request for it is refused with 400: {error}"),
    })
}

/// Protocol names as a hello has them.
fn wire(names: &[Text<'_>]) -> Result<Vec<u8>, Bad> {
    let mut list = Vec::new();
    for Text(name) in names {
        let length = u8::try_from(name.len()).ok().filter(|&length| length > 0);
        let length = length.ok_or_else(|| Bad {
            key: "alpn",
            message: format!("\"{name}\": expected names of 1 to 255 bytes, such as \"h2\""),
        })?;
        list.push(length);
        list.extend_from_slice(name.as_bytes());
    }
    Ok(list)
}

/// Says which key of a line is wrong, which the reader itself does not.
fn diagnose(line: &str, error: Option<&serde_json::Error>) -> String {
    let plain = |error: &serde_json::Error| {
        let text = error.to_string();
        text.split(" at line ").next().unwrap_or(&text).to_owned()
    };
    let value: serde_json::Value = match serde_json::from_str(line) {
        Ok(value) => value,
        Err(error) => return format!("not JSON: {} at column {}", plain(&error), error.column()),
    };
    let Some(object) = value.as_object() else {
        return "expected a JSON object of facts, such as {\"host\":\"www.example.com\"}".into();
    };
    for (key, value) in object {
        if !Given::NAMES.contains(&key.as_str()) {
            return match near_miss(key, Given::NAMES.iter().copied()) {
                Some(near) => format!("unknown key `{key}`: did you mean `{near}`?"),
                None => format!(
                    "unknown key `{key}`: expected one of {}",
                    Given::NAMES.join(", ")
                ),
            };
        }
        let alone = serde_json::Value::from_iter([(key.clone(), value.clone())]).to_string();
        if let Err(error) = serde_json::from_str::<Given<'_>>(&alone) {
            return format!("`{key}`: {}", plain(&error));
        }
    }
    error.map(plain).unwrap_or_default()
}
