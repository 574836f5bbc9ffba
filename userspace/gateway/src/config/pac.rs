//! The key `pac` of a proxy listener: what clients go to directly, and how they reach the proxy.

use sluice_policy::{List, ListData};

use super::{
    lists::ListKind,
    names::Names,
    read::{Item, Keys},
};
use crate::pac::{DirectEntry, Pac};

const PAC: Keys = Keys {
    known: &["direct", "proxy"],
    later: &[],
};

/// Makes the file of what is said; `None` where that has a mistake, which is noted.
pub(super) fn pac(item: &Item<'_>, names: &Names, lists: &[List]) -> Option<Pac> {
    let section = item.section("`pac`", PAC)?;
    let mut direct = Vec::new();
    for item in section.items_of("direct") {
        let read = item.parse(|text| entry(text, names, lists));
        direct.extend(read);
    }
    let proxies: Vec<_> = section.get("proxy").map_or_else(Vec::new, |item| {
        let each = item.each();
        each.iter()
            .filter_map(|item| item.parse(str::parse))
            .collect()
    });
    if section
        .get("proxy")
        .is_none_or(|item| item.each().is_empty())
    {
        section.missing(
            "proxy",
            "say how clients reach the proxy, as in \"proxy.corp.example:3128\"",
        );
    }
    (!proxies.is_empty()).then(|| Pac::new(&direct, &proxies))
}

fn entry(text: &str, names: &Names, lists: &[List]) -> Result<DirectEntry, String> {
    let Some(id) = names.list(text, &[ListKind::Domains, ListKind::Addresses]) else {
        return text.parse();
    };
    match lists.get(id?.0).map(|list| &list.data) {
        Some(ListData::Domains(domains)) => Ok(DirectEntry::Domains(domains.clone())),
        Some(ListData::Addresses(nets)) => Ok(DirectEntry::Addresses(nets.clone())),
        Some(ListData::Urls(_)) | None => Err("a list of URLs does not fit here".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::lists::lists;
    use crate::config::problem::Problems;
    use crate::config::read::Section;
    use crate::config::sources::Files;

    const LISTS: &str = "[[list]]\nname = \"ours\"\nkind = \"domains\"\nentries = [\".ours.example\"]\n\
                         [[list]]\nname = \"links\"\nkind = \"urls\"\nentries = []\n";

    /// The file that a text makes, or its mistakes.
    fn read(text: &str) -> Result<Pac, String> {
        let text = format!("{text}\n{LISTS}");
        let (document, _) = toml::de::DeTable::parse_recoverable(&text);
        let problems = Problems::default();
        let keys = Keys {
            known: &["pac", "list"],
            later: &[],
        };
        let made = {
            let top = Section::new(
                "the file",
                Some((0..0, document.get_ref())),
                keys,
                &problems,
            );
            let files = Files {
                base: None,
                before: &[],
                after: std::cell::RefCell::default(),
            };
            let mut names = Names::default();
            let lists = lists(&top, &files, &mut names);
            top.get("pac").and_then(|item| pac(&item, &names, &lists))
        };
        match problems.into_error("x", &text) {
            Some(error) => Err(error.to_string()),
            None => Ok(made.unwrap()),
        }
    }

    #[test]
    fn a_list_stands_for_its_entries() {
        let proxy = "proxy = \"proxy.example:3128\"";
        let of_list = read(&format!("pac = {{ direct = [\"list:ours\"], {proxy} }}")).unwrap();
        let written = read(&format!(
            "pac = {{ direct = [\".ours.example\"], {proxy} }}"
        ))
        .unwrap();
        assert_eq!(of_list, written);
        let none = read(&format!("pac = {{ {proxy} }}")).unwrap();
        assert_ne!(of_list, none);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, mistake) in [
            (
                "pac = { direct = [] }",
                "x:1:7: `proxy` is missing in `pac`: say how clients reach the proxy, as in \
                 \"proxy.corp.example:3128\"",
            ),
            (
                "pac = { direct = [\"list:our\"], proxy = \"a.example:1\" }",
                "x:1:19: `direct` in `pac`: \"list:our\": there is no list \"our\": did you mean \"ours\"?",
            ),
            (
                "pac = { direct = [\"list:links\"], proxy = \"a.example:1\" }",
                "x:1:19: `direct` in `pac`: \"list:links\": a list of kind \"urls\" does not fit here: \
                 expected one of kind \"domains\" or \"addresses\"",
            ),
            (
                "pac = { direct = [\"10.0.0.1/8\"], proxy = \"a.example:1\" }",
                "x:1:19: `direct` in `pac`: \"10.0.0.1/8\": the address has bits beyond its prefix: \
                 write \"10.0.0.0/8\" or a longer prefix",
            ),
            (
                "pac = { proxy = \"a.example\" }",
                "x:1:17: `proxy` in `pac`: \"a.example\": expected a name or an address with a port, \
                 as in \"proxy.corp.example:3128\" or \"https://proxy.corp.example:3129\"",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), mistake, "{text}");
        }
    }
}
