//! Lists from files: domains, addresses, URLs.
//!
//! A list of a million domains is ordinary, so that domains stand one behind the other in a single
//! allocation that the compiled policies of several generations share.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use crate::{
    host::{HostError, HostPattern, canonical},
    net::{Net, NetError},
    url::{UrlEntry, UrlError},
};

/// A list that rules speak of by name.
#[derive(Clone, Debug)]
pub struct List {
    /// The name.
    pub name: String,
    /// What is in it.
    pub data: ListData,
}

/// What is in a list.
#[derive(Clone, Debug)]
pub enum ListData {
    /// Networks.
    Addresses(Arc<[Net]>),
    /// Server names.
    Domains(Arc<DomainList>),
    /// URLs.
    Urls(Arc<[UrlEntry]>),
}

impl ListData {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Addresses(nets) => nets.len(),
            Self::Domains(names) => names.len(),
            Self::Urls(urls) => urls.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The word used in configuration for such a list.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Addresses(_) => "addresses",
            Self::Domains(_) => "domains",
            Self::Urls(_) => "urls",
        }
    }
}

/// Which names an entry means.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Reach {
    /// The name itself.
    pub itself: bool,
    /// Every name below it.
    pub below: bool,
}

impl Reach {
    const fn code(self) -> u8 {
        self.itself as u8 | (self.below as u8) << 1
    }

    const fn from_code(code: u8) -> Self {
        Self {
            itself: code & 1 != 0,
            below: code & 2 != 0,
        }
    }
}

/// Server names in the order of their files.
#[derive(Debug, Default)]
pub struct DomainList {
    /// For each entry its [`Reach`], the length of the name, and the name.
    packed: Box<[u8]>,
    len: usize,
}

impl DomainList {
    /// How many entries there are, repeated ones included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the names take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.packed.len()
    }

    /// The entries: where each name begins in the list, the name in lower case, and its reach.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, &[u8], Reach)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let &[code, length] = self.packed.get(at..)?.first_chunk()?;
            let start = at + 2;
            at = start + usize::from(length);
            let name = self.packed.get(start..at)?;
            Some((u32::try_from(start).ok()?, name, Reach::from_code(code)))
        })
    }

    /// The name that begins at an offset that [`DomainList::entries`] gave.
    #[inline]
    pub(crate) fn name(&self, start: u32, length: u8) -> Option<&[u8]> {
        let start = start as usize;
        self.packed.get(start..start + usize::from(length))
    }

    /// The names as they are written in a list, for people to read.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.entries().map(|(_, name, reach)| {
            let name = String::from_utf8_lossy(name);
            match (reach.itself, reach.below) {
                (true, true) => format!(".{name}"),
                (false, true) => format!("*.{name}"),
                _ => name.into_owned(),
            }
        })
    }
}

/// Why a line of a list is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LineError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it, what was expected, and the cure.
    pub message: String,
}

/// Gathers the entries of a list of domains.
#[derive(Debug, Default)]
pub struct DomainListBuilder {
    packed: Vec<u8>,
    len: usize,
}

/// Bytes that the names of one list may take: what an offset can tell.
const MOST_BYTES: usize = u32::MAX as usize;

impl DomainListBuilder {
    /// Adds one entry: `name` itself, `*.name` for the names below it, `.name` for both. Names with
    /// letters beyond ASCII are taken in their `xn--` form.
    ///
    /// # Errors
    ///
    /// [`HostError`], where the text is no such entry or the list would become larger than 4 GiB.
    pub fn add(&mut self, text: &str) -> Result<(), HostError> {
        let (name, reach) = if let Some(name) = text.strip_prefix("*.") {
            let below = Reach {
                itself: false,
                below: true,
            };
            (name, below)
        } else if let Some(name) = text.strip_prefix('.') {
            let both = Reach {
                itself: true,
                below: true,
            };
            (name, both)
        } else {
            let itself = Reach {
                itself: true,
                below: false,
            };
            (text, itself)
        };
        let name: Cow<'_, str> = canonical(name)?;
        let length = u8::try_from(name.len()).map_err(|_| HostError::NotAName)?;
        if self.packed.len() + name.len() + 2 > MOST_BYTES {
            return Err(HostError::ListTooLong);
        }
        self.packed.extend_from_slice(&[reach.code(), length]);
        let start = self.packed.len();
        self.packed.extend_from_slice(name.as_bytes());
        if let Some(added) = self.packed.get_mut(start..) {
            added.make_ascii_lowercase();
        }
        self.len += 1;
        Ok(())
    }

    /// Adds the lines of a file: an entry each, or an address and names as a hosts file has them.
    /// What follows a `#` is a comment. Lines that are none of this are told in `errors`, at most
    /// `most` of them, and left out.
    pub fn add_lines(&mut self, text: &str, errors: &mut Vec<LineError>, most: usize) {
        for (number, content) in lines(text) {
            let mut words = content.split_ascii_whitespace();
            let Some(first) = words.next() else { continue };
            let (names, is_hosts) = match words.next() {
                None => (first, false),
                // An address before names: only the names count.
                Some(_) if first.parse::<IpAddr>().is_ok() => {
                    (content.get(first.len()..).unwrap_or_default(), true)
                }
                Some(_) => {
                    note(
                        errors,
                        most,
                        number,
                        "expected one name, or an address and names as in a hosts file",
                    );
                    continue;
                }
            };
            for name in names.split_ascii_whitespace() {
                match self.add(name) {
                    // Hosts files also name the addresses themselves.
                    Ok(()) | Err(HostError::Address) if is_hosts => {}
                    Ok(()) => {}
                    Err(error) => note(errors, most, number, format!("\"{name}\": {error}")),
                }
            }
        }
    }

    /// How many entries there are so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The list.
    #[must_use]
    pub fn finish(self) -> DomainList {
        DomainList {
            packed: self.packed.into_boxed_slice(),
            len: self.len,
        }
    }
}

/// Reads lines of addresses and CIDRs, one each; mistakes are told as
/// [`DomainListBuilder::add_lines`] tells them.
pub fn address_lines(text: &str, nets: &mut Vec<Net>, errors: &mut Vec<LineError>, most: usize) {
    for (number, content) in lines(text) {
        match content.parse() {
            Ok(net) => nets.push(net),
            // A prefix that says too much still says which addresses are meant.
            Err(NetError::HostBits { network }) => nets.push(network),
            Err(error) => note(errors, most, number, format!("\"{content}\": {error}")),
        }
    }
}

/// Reads lines of URLs, one each; mistakes are told as [`DomainListBuilder::add_lines`] tells them.
pub fn url_lines(text: &str, urls: &mut Vec<UrlEntry>, errors: &mut Vec<LineError>, most: usize) {
    for (number, content) in lines(text) {
        match content.parse::<UrlEntry>() {
            Ok(url) => urls.push(url),
            Err(error) => {
                let error: UrlError = error;
                note(errors, most, number, format!("\"{content}\": {error}"));
            }
        }
    }
}

/// The lines that say something, with their numbers from 1.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().enumerate().filter_map(|(index, line)| {
        // A `#` inside an entry, as in a URL, begins no comment.
        let comment = line
            .match_indices('#')
            .find(|&(at, _)| {
                let before = line.get(..at).unwrap_or_default();
                before.is_empty() || before.ends_with(|c: char| c.is_ascii_whitespace())
            })
            .map_or(line.len(), |(at, _)| at);
        let content = line.get(..comment).unwrap_or_default().trim();
        (!content.is_empty()).then_some((index + 1, content))
    })
}

fn note(errors: &mut Vec<LineError>, most: usize, line: usize, message: impl Into<String>) {
    if errors.len() < most {
        errors.push(LineError {
            line,
            message: message.into(),
        });
    }
}

impl From<&HostPattern> for Reach {
    fn from(pattern: &HostPattern) -> Self {
        match pattern {
            HostPattern::Below(_) => Self {
                itself: false,
                below: true,
            },
            HostPattern::Exact(_) => Self {
                itself: true,
                below: false,
            },
            HostPattern::Within(_) => Self {
                itself: true,
                below: true,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<String>, Vec<LineError>) {
        let (mut builder, mut errors) = (DomainListBuilder::default(), Vec::new());
        builder.add_lines(text, &mut errors, 3);
        (builder.finish().iter().collect(), errors)
    }

    #[test]
    fn plain_and_hosts_lines_are_read() {
        let (names, errors) = read(
            "\u{feff}# a comment\nAds.example\n*.track.example # why\n.both.example.\n\n\
             0.0.0.0 one.example two.example\n::1 localhost\n0.0.0.0 0.0.0.0\r\nb\u{fc}cher.example\n",
        );
        assert_eq!(errors, []);
        assert_eq!(
            names,
            [
                "ads.example",
                "*.track.example",
                ".both.example",
                "one.example",
                "two.example",
                "localhost",
                "xn--bcher-kva.example"
            ]
        );
    }

    #[test]
    fn mistakes_are_told_with_their_lines_and_are_bounded() {
        let (names, errors) =
            read("a.example b.example\n192.0.2.1\n-- --\nok.example\nhttp://x/\n");
        assert_eq!(names, ["ok.example"]);
        assert_eq!(errors.iter().map(|e| e.line).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn addresses_may_have_bits_beyond_their_prefix() {
        let (mut nets, mut errors) = (Vec::new(), Vec::new());
        address_lines(
            "192.0.2.7/24\n2001:db8::/32 # doc\nx\n",
            &mut nets,
            &mut errors,
            9,
        );
        let nets: Vec<_> = nets.iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["192.0.2.0/24", "2001:db8::/32"]);
        assert_eq!(errors.len(), 1);
    }
}
