//! A page as a tree, by the tokenizer that browsers are specified with.

use std::collections::BTreeMap;

use html5gum::{Token, Tokenizer};

/// Elements without an end.
const VOID: [&str; 3] = ["meta", "input", "link"];

/// One element.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: BTreeMap<String, String>,
    /// The text in it and in what is in it.
    pub(super) text: String,
}

/// Every element of a page, in the order of their beginnings.
///
/// # Panics
///
/// Where the page is not well formed: errors of the tokenizer, ends that fit no beginning.
pub(super) fn elements(html: &str) -> Vec<Element> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found: Vec<Element> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut has_doctype = false;
    for Ok(token) in Tokenizer::new(html) {
        match token {
            Token::StartTag(tag) => {
                assert!(has_doctype, "no doctype");
                let name = text(&tag.name);
                let attributes = tag.attributes.iter();
                let attributes = attributes.map(|(name, value)| (text(name), text(value)));
                if !VOID.contains(&name.as_str()) {
                    open.push(found.len());
                }
                found.push(Element {
                    name,
                    attributes: attributes.collect(),
                    text: String::new(),
                });
            }
            Token::EndTag(tag) => {
                let at = open.pop().expect("an end without a beginning");
                assert_eq!(found[at].name, text(&tag.name));
            }
            Token::String(string) => {
                for &at in &open {
                    found[at].text.push_str(&text(&string));
                }
            }
            Token::Doctype(_) => has_doctype = true,
            Token::Comment(comment) => panic!("a comment: {comment:?}"),
            Token::Error(error) => panic!("{error:?} in {html}"),
        }
    }
    assert!(open.is_empty(), "not everything has an end");
    found
}

/// The only element of a name.
pub(super) fn only<'e>(elements: &'e [Element], name: &str) -> &'e Element {
    let mut found = elements.iter().filter(|element| element.name == name);
    let first = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "more than one {name}");
    first
}
