//! Lists: of domains, of addresses, of URLs.

use sluice_policy::{
    DomainListBuilder, HostError, LineError, List, ListData, ListId, Net, NetError, UrlEntry,
    UrlError,
    list::{address_lines, url_lines},
};

use super::{
    names::{Named, Names, named, numbers},
    read::{Keys, Section},
    sources::{Files, Origin, Stamp},
};

const LIST: Keys = Keys {
    known: &["name", "kind", "files", "entries"],
    later: &[],
};

/// What a list holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum ListKind {
    Addresses,
    Domains,
    Urls,
}

impl ListKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Domains => "domains",
            Self::Urls => "urls",
        }
    }
}

/// Reads the lists of a document, their files included.
pub(super) fn lists(top: &Section<'_>, files: &Files<'_>, names: &mut Names) -> Vec<List> {
    let sections = named(top, "list", LIST);
    let kinds: Vec<_> = sections
        .iter()
        .map(|Named { section, .. }| kind(section))
        .collect();
    let kind_of = |index: usize| (ListId(index), kinds.get(index).copied().flatten());
    names.lists = numbers(&sections, kind_of);
    sections
        .iter()
        .zip(&kinds)
        .map(|(Named { name, section }, kind)| List {
            name: name.clone(),
            data: match kind {
                Some(kind) => data(section, *kind, files),
                // There is no list then, but its number must stay.
                None => Builder::new(ListKind::Domains).finish(),
            },
        })
        .collect()
}

fn kind(section: &Section<'_>) -> Option<ListKind> {
    let Some(item) = section.get("kind") else {
        section.missing("kind", "write \"domains\", \"addresses\" or \"urls\"");
        return None;
    };
    let words = [ListKind::Domains, ListKind::Addresses, ListKind::Urls];
    item.choice(&words.map(|kind| (kind.name(), kind)))
}

fn data(section: &Section<'_>, kind: ListKind, files: &Files<'_>) -> ListData {
    let entries = section.list("entries", Vec::new, |text| Ok(text.to_owned()));
    let paths = section.list("files", Vec::new, |text| files.path(text));
    let stamps = paths.into_iter().map(|path| {
        let stamp = Stamp::now(&path)?;
        Some((path, stamp))
    });
    let mut origin = Origin {
        kind,
        entries,
        files: Vec::new(),
    };
    // A file that is not there is told of when it is read.
    if let Some(stamps) = stamps.collect() {
        origin.files = stamps;
        if let Some(data) = files.known(&origin) {
            files.keep(origin, data.clone());
            return data;
        }
    }
    let mut builder = Builder::new(kind);
    for item in section.items_of("entries") {
        item.parse(|text| builder.add(text));
    }
    let mut read = Vec::new();
    for item in section.items_of("files") {
        let Some(text) = files.read(&item) else {
            continue;
        };
        text.lines(&item, |lines, errors, most| {
            builder.add_lines(lines, errors, most);
        });
        read.push(text.stamp);
    }
    let data = builder.finish();
    // What is remembered is what was read, not what was there just before.
    if read.len() == origin.files.len() {
        for ((_, stamp), read) in origin.files.iter_mut().zip(read) {
            *stamp = read;
        }
        files.keep_read(origin, data.clone());
    }
    data
}

enum Builder {
    Addresses(Vec<Net>),
    Domains(DomainListBuilder),
    Urls(Vec<UrlEntry>),
}

impl Builder {
    fn new(kind: ListKind) -> Self {
        match kind {
            ListKind::Addresses => Self::Addresses(Vec::new()),
            ListKind::Domains => Self::Domains(DomainListBuilder::default()),
            ListKind::Urls => Self::Urls(Vec::new()),
        }
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        match self {
            Self::Addresses(nets) => {
                let net = text.parse().map_err(|error: NetError| error.to_string())?;
                nets.push(net);
            }
            Self::Domains(names) => names
                .add(text)
                .map_err(|error: HostError| error.to_string())?,
            Self::Urls(urls) => {
                let url = text.parse().map_err(|error: UrlError| error.to_string())?;
                urls.push(url);
            }
        }
        Ok(())
    }

    fn add_lines(&mut self, text: &str, errors: &mut Vec<LineError>, most: usize) {
        match self {
            Self::Addresses(nets) => address_lines(text, nets, errors, most),
            Self::Domains(names) => names.add_lines(text, errors, most),
            Self::Urls(urls) => url_lines(text, urls, errors, most),
        }
    }

    fn finish(self) -> ListData {
        match self {
            Self::Addresses(nets) => ListData::Addresses(nets.into()),
            Self::Domains(names) => ListData::Domains(names.finish().into()),
            Self::Urls(urls) => ListData::Urls(urls.into()),
        }
    }
}
