//! What stands in a head, and what it says of where its message ends (RFC 9112).

use crate::request::Framing;

/// Why a connection cannot be read on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Bad {
    /// A line of a request ends with a bare LF, or a CR stands inside a line.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// The first line is not that of a message of HTTP/1.0 or HTTP/1.1.
    #[error("the first line is not that of HTTP/1.1")]
    StartLine,
    /// A name of a field is none, be it that a blank stands beside it.
    #[error("the name of a header field is none")]
    Name,
    /// A field that goes on in a second line.
    #[error("a header field goes on in a second line")]
    Fold,
    /// A value holds a control character.
    #[error("the value of a header field holds a control character")]
    Value,
    /// The length of the body is not certain.
    #[error("{0}")]
    Framing(#[from] Framing),
    /// What stands between chunks is not what belongs there.
    #[error("the chunks of the body are not whole")]
    Chunk,
    /// Trailers hold what says where messages begin.
    #[error("the trailers hold a field that belongs before the body")]
    Trailer,
    /// More fields than allowed.
    #[error("too many header fields")]
    TooMany,
    /// Fields of more bytes than allowed.
    #[error("the header fields are too large")]
    TooLarge,
    /// A URL of more bytes than allowed.
    #[error("the URL is too long")]
    UrlTooLong,
    /// Interim answers without end.
    #[error("too many interim answers")]
    Interim,
    /// An answer to nothing.
    #[error("an answer that nobody asked for")]
    Unasked,
}

/// The request that an answer is to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Whether its method is HEAD, so that its answer has no body.
    pub head: bool,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
    UntilEnd,
}

/// What a head is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Head {
    Message(Body),
    /// An answer before the one that counts.
    Interim,
    /// A message behind which another protocol may follow.
    Switch,
}

/// Reads the head of a request, with the empty line at its end.
pub(super) fn request(head: &[u8], most: usize) -> Result<Head, Bad> {
    let (line, fields) = lines(head, true)?;
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Bad::StartLine);
    };
    let is_target = !target.is_empty() && target.iter().all(|&byte| byte > b' ' && byte != 0x7f);
    if !is_token(method) || !is_target {
        return Err(Bad::StartLine);
    }
    let is_11 = is_11(version)?;
    let read = Fields::read(fields, most, true)?;
    let body = match (read.coding, read.length) {
        (None, length) => Body::Length(length.unwrap_or_default()),
        (Some(_), Some(_)) => return Err(Framing::Both.into()),
        (Some(Coding::Chunked), None) if is_11 => Body::Chunked,
        (Some(_), None) => return Err(Framing::Coding.into()),
    };
    // RFC 9110 section 9.3.6: a CONNECT has no content, and what follows is the tunnel's.
    let tunnels = method == b"CONNECT";
    if tunnels && (read.coding.is_some() || read.length.is_some_and(|length| length > 0)) {
        return Err(Framing::Tunnel.into());
    }
    let switches = is_11 && method == b"GET" && read.websocket && body == Body::Length(0);
    Ok(if switches || tunnels {
        Head::Switch
    } else {
        Head::Message(body)
    })
}

/// Reads the head of an answer, with the empty line at its end.
pub(super) fn answer(head: &[u8], most: usize, to: Asked) -> Result<Head, Bad> {
    let (line, fields) = lines(head, false)?;
    let (version, rest) = line.split_at_checked(8).ok_or(Bad::StartLine)?;
    let is_11 = is_11(version)?;
    let [b' ', a, b, c, after @ ..] = rest else {
        return Err(Bad::StartLine);
    };
    let status = [*a, *b, *c];
    if !status.iter().all(u8::is_ascii_digit) || !matches!(after, [] | [b' ', ..]) {
        return Err(Bad::StartLine);
    }
    let read = Fields::read(fields, most, false)?;
    if read.coding.is_some() && read.length.is_some() {
        return Err(Framing::Both.into());
    }
    Ok(match &status {
        b"101" => Head::Switch,
        [b'1', ..] => Head::Interim,
        b"204" | b"304" => Head::Message(Body::Length(0)),
        _ if to.head => Head::Message(Body::Length(0)),
        _ => Head::Message(match (read.coding, read.length) {
            (None, None) => Body::UntilEnd,
            (None, Some(length)) => Body::Length(length),
            (Some(Coding::Chunked), _) if is_11 => Body::Chunked,
            (Some(_), _) => return Err(Framing::Coding.into()),
        }),
    })
}

/// Reads trailers, with the empty line at their end.
pub(super) fn trailers(section: &[u8]) -> Result<(), Bad> {
    if section == b"\r\n" {
        return Ok(());
    }
    let mut host = false;
    let section = section.strip_suffix(b"\r\n").ok_or(Bad::LineEnd)?;
    let read = Fields::each(section, usize::MAX, true, |name, _| {
        host |= name.eq_ignore_ascii_case(b"host");
        Ok(())
    })?;
    let framing = read.coding.is_some() || read.length.is_some();
    if framing || host {
        return Err(Bad::Trailer);
    }
    Ok(())
}

/// Reads the line before a chunk: hexadecimal digits and nothing before them, then extensions.
pub(super) fn chunk_size(line: &[u8]) -> Result<u64, Bad> {
    let line = line.strip_suffix(b"\r\n").ok_or(Bad::Chunk)?;
    let end = line.iter().position(|&byte| byte == b';');
    let (digits, _) = line
        .split_at_checked(end.unwrap_or(line.len()))
        .ok_or(Bad::Chunk)?;
    // Some write the size with blanks behind it, and nobody reads those otherwise.
    let digits = digits.trim_ascii_end();
    if line.iter().any(|&byte| is_control(byte)) {
        return Err(Bad::Chunk);
    }
    let is_size = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_size);
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(Bad::Chunk)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Coding {
    Chunked,
    Other,
}

/// What fields say of the body.
#[derive(Debug, Default)]
struct Fields {
    coding: Option<Coding>,
    length: Option<u64>,
    websocket: bool,
}

impl Fields {
    fn read(fields: &[u8], most: usize, strict: bool) -> Result<Self, Bad> {
        Self::each(fields, most, strict, |_, _| Ok(()))
    }

    fn each(
        fields: &[u8],
        most: usize,
        strict: bool,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Bad>,
    ) -> Result<Self, Bad> {
        let mut read = Self::default();
        let mut upgrades = false;
        let mut rest = fields;
        let mut count = 0;
        while !rest.is_empty() {
            let (field, after) = first_line(rest, strict)?;
            rest = after;
            count += 1;
            if count > most {
                return Err(Bad::TooMany);
            }
            if let [b' ' | b'\t', ..] = field {
                return Err(Bad::Fold);
            }
            let colon = field.iter().position(|&byte| byte == b':');
            let (name, value) = field
                .split_at_checked(colon.ok_or(Bad::Name)?)
                .ok_or(Bad::Name)?;
            if !is_token(name) {
                return Err(Bad::Name);
            }
            let value = value.get(1..).unwrap_or_default();
            if value.iter().any(|&byte| is_control(byte)) {
                return Err(Bad::Value);
            }
            let value = trim(value);
            if name.eq_ignore_ascii_case(b"content-length") {
                let length = digits(value).ok_or(Framing::Length)?;
                // Of answers some say the same twice.
                if read.length.is_some_and(|first| strict || first != length) {
                    return Err(Framing::Length.into());
                }
                read.length = Some(length);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                let chunked = value.eq_ignore_ascii_case(b"chunked") && read.coding.is_none();
                read.coding = Some(if chunked {
                    Coding::Chunked
                } else {
                    Coding::Other
                });
            } else if name.eq_ignore_ascii_case(b"upgrade") {
                read.websocket |= has_item(value, b"websocket");
            } else if name.eq_ignore_ascii_case(b"connection") {
                upgrades |= has_item(value, b"upgrade");
            }
            visit(name, value)?;
        }
        read.websocket &= upgrades;
        Ok(read)
    }
}

/// The first line, and what follows up to the empty line.
fn lines(head: &[u8], strict: bool) -> Result<(&[u8], &[u8]), Bad> {
    let fields = match head.strip_suffix(b"\r\n") {
        Some(fields) => fields,
        None if strict => return Err(Bad::LineEnd),
        None => head.strip_suffix(b"\n").ok_or(Bad::LineEnd)?,
    };
    let (line, fields) = first_line(fields, strict)?;
    if line.iter().any(|&byte| is_control(byte)) {
        return Err(Bad::StartLine);
    }
    Ok((line, fields))
}

/// The first line without its end, and what follows.
fn first_line(lines: &[u8], strict: bool) -> Result<(&[u8], &[u8]), Bad> {
    let end = lines.iter().position(|&byte| byte == b'\n');
    let (line, rest) = lines
        .split_at_checked(end.ok_or(Bad::LineEnd)? + 1)
        .ok_or(Bad::LineEnd)?;
    let line = match line.strip_suffix(b"\r\n") {
        Some(line) => line,
        None if strict => return Err(Bad::LineEnd),
        None => line.strip_suffix(b"\n").unwrap_or(line),
    };
    if line.contains(&b'\r') {
        return Err(Bad::LineEnd);
    }
    Ok((line, rest))
}

fn is_11(version: &[u8]) -> Result<bool, Bad> {
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        _ => Err(Bad::StartLine),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let from = value.iter().position(|byte| !blank(byte));
    let to = value.iter().rposition(|byte| !blank(byte));
    match (from, to) {
        (Some(from), Some(to)) => value.get(from..=to).unwrap_or_default(),
        _ => &[],
    }
}

fn has_item(value: &[u8], item: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|found| trim(found).eq_ignore_ascii_case(item))
}

/// A length that every recipient can hold.
fn digits(value: &[u8]) -> Option<u64> {
    let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    text.parse().ok()
}
