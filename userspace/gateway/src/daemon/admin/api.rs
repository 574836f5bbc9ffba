//! `/api/records` and `/api/explain`: the last records, and what the policy in force says.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use sluice_policy::Scratch;

use super::identity::Mistake;
use super::json;
use super::summary::VERSION;
use crate::daemon::export::Sources;
use crate::daemon::generation::Generation;
use crate::daemon::records::{Fill, RecentRecord, Wanted};
use crate::explain::trace::Trace;
use crate::explain::{Answer as Explained, Given, recorded::Recorded};

/// Where the last records are; behind a slash the number of one, then `/why`.
pub const RECORDS: &str = "/api/records";

/// Where the policy in force is asked about a flow.
pub const EXPLAIN: &str = "/api/explain";

/// Records of one answer, where nobody says how many, and at most.
const LIMITS: (usize, usize) = (100, 500);

/// Bytes of records in one answer, unless a single one has more.
const BYTES: usize = 1 << 20;

/// Time that answers about the policy may take together, as a share: one tenth of the thread's.
const SHARE: u32 = 10;

pub(super) type Answer = Response<Full<Bytes>>;
type Wrong = (StatusCode, String);

/// A record with its number.
#[derive(Serialize)]
pub(super) struct Numbered<'a> {
    id: u64,
    record: &'a RawValue,
}

impl<'a> Numbered<'a> {
    pub(super) fn of(entry: &'a RecentRecord) -> Option<Self> {
        Some(Self {
            id: entry.id,
            record: serde_json::from_slice(&entry.json).ok()?,
        })
    }
}

#[derive(Serialize)]
struct Listing<'a> {
    v: u32,
    /// Those that fit, the latest first.
    records: Vec<Numbered<'a>>,
    /// Whether there are more behind the last.
    more: bool,
    #[serde(flatten)]
    fill: Fill,
}

/// What a policy says of facts.
#[derive(Serialize)]
struct Told<'a> {
    v: u32,
    /// The generation that was asked.
    generation: u64,
    answer: Explained<'a>,
    trace: Trace,
}

/// What the policy in force says of a record.
#[derive(Serialize)]
struct Why<'a> {
    id: u64,
    record: &'a RawValue,
    /// What was asked about, as `sluice explain --facts` takes it.
    facts: &'a serde_json::Value,
    /// The generation that judged the flow.
    judged_by: Option<u64>,
    /// Whether another generation is in force since.
    changed: bool,
    /// Whether the rule that decides is the one that the record names.
    agrees: bool,
    /// What the record does not have, and counts as absent.
    missing: &'a [&'static str],
    /// Why the policy was not asked.
    error: Option<String>,
    #[serde(flatten)]
    told: Option<Told<'a>>,
}

pub(super) fn answer(result: Result<Answer, Wrong>) -> Answer {
    result.unwrap_or_else(|(status, error)| {
        let mut answer = json(&Mistake { error });
        *answer.status_mut() = status;
        answer
    })
}

/// GET of [`RECORDS`], and of what is behind it.
pub(super) fn records(path: &str, query: &str, sources: &Sources) -> Result<Answer, Wrong> {
    let rest = path.strip_prefix(RECORDS).unwrap_or_default();
    if !rest.is_empty() {
        let id = rest
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix("/why"));
        let id = id.and_then(|id| id.parse().ok()).ok_or_else(|| {
            let error = format!("expected {RECORDS}/NUMBER/why");
            (StatusCode::NOT_FOUND, error)
        })?;
        return why(id, sources);
    }
    let (wanted, limit) = wanted(query).map_err(|error| (StatusCode::BAD_REQUEST, error))?;
    let recent = sources.shared.access.recent();
    let (mut found, mut more) = recent.search(&wanted, limit);
    let mut size = 0;
    let fitting = found.iter().position(|entry| {
        size += entry.json.len();
        size > BYTES
    });
    if let Some(fitting) = fitting {
        found.truncate(fitting.max(1));
        more = true;
    }
    Ok(json(&Listing {
        v: VERSION,
        records: found.iter().filter_map(Numbered::of).collect(),
        more,
        fill: recent.fill(),
    }))
}

/// What a query asks for, and how many.
fn wanted(query: &str) -> Result<(Wanted, usize), String> {
    let mut wanted = Wanted::default();
    let mut limit = LIMITS.0;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or_else(|| format!("`{key}`: expected UTF-8"))?;
        // A form sends what was left empty, too.
        if value.is_empty() {
            continue;
        }
        let number = || {
            let number = value.parse::<u64>();
            number.map_err(|_| format!("`{key}`: \"{value}\": expected a number"))
        };
        match key {
            "limit" => {
                let number = usize::try_from(number()?).unwrap_or(usize::MAX);
                limit = number.clamp(1, LIMITS.1);
            }
            "before" => wanted.before = Some(number()?),
            "after" => wanted.after = Some(number()?),
            "client" => {
                let address = value.parse();
                wanted.client = Some(address.map_err(|_| {
                    format!("`client`: \"{value}\": expected an address such as \"10.20.4.7\"")
                })?);
            }
            "user" => wanted.user = Some(value),
            "host" => wanted.host = Some(value),
            "verdict" => wanted.verdict = Some(value),
            "reason" => wanted.reason = Some(value),
            "rule" => wanted.rule = Some(value),
            _ => {
                return Err(format!(
                    "unknown `{key}`: expected limit, before, after, client, user, host, verdict, \
                     reason or rule"
                ));
            }
        }
    }
    Ok((wanted, limit))
}

/// A value of a query (WHATWG URL, section 5.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match (first, behind) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, behind @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let value = digit(high)? * 16 + digit(low)?;
                bytes.push(u8::try_from(value).ok()?);
                rest = behind;
            }
            (b'%', _) => return None,
            (other, _) => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn why(id: u64, sources: &Sources) -> Result<Answer, Wrong> {
    let entry = sources.shared.access.recent().get(id).ok_or_else(|| {
        let error = format!("record {id} is not kept, or not any more");
        (StatusCode::NOT_FOUND, error)
    })?;
    let record = Numbered::of(&entry).map(|one| one.record);
    let (record, mut recorded) = record.zip(Recorded::read(&entry.json)).ok_or_else(|| {
        let error = "no policy of the daemon's decides about refused packets: the kernel \
                         programs do, by [egress]";
        (StatusCode::UNPROCESSABLE_ENTITY, error.to_owned())
    })?;
    if sources.shared.access.hides_users() && recorded.facts.get("user").is_some() {
        if let Some(facts) = recorded.facts.as_object_mut() {
            facts.remove("user");
        }
        recorded.missing.push("who the user is");
    }
    let generation = sources.shared.current.get();
    let text = recorded.facts.to_string();
    let asked = told(&generation, &text);
    let (told, error) = match asked {
        Ok(told) => (Some(told), None),
        Err(error) => (None, Some(error)),
    };
    let decides = told.as_ref().and_then(|told| told.answer.rule());
    let decides = told.is_some() && decides == recorded.rule.as_deref();
    Ok(json(&Why {
        id,
        record,
        facts: &recorded.facts,
        judged_by: recorded.generation,
        changed: recorded.generation != Some(generation.number),
        agrees: decides,
        missing: &recorded.missing,
        error,
        told,
    }))
}

/// POST of [`EXPLAIN`]: facts as a line of `sluice explain --facts`.
pub(super) fn explain(body: &[u8], sources: &Sources) -> Result<Answer, Wrong> {
    let wrong = |error: String| (StatusCode::BAD_REQUEST, error);
    let text = std::str::from_utf8(body).map_err(|_| wrong("the body: expected UTF-8".into()))?;
    let generation = sources.shared.current.get();
    told(&generation, text.trim())
        .map(|told| json(&told))
        .map_err(wrong)
}

fn told<'g>(generation: &'g Generation, facts: &str) -> Result<Told<'g>, String> {
    let given = Given::read(facts)?;
    let prepared = given.prepare().map_err(|bad| bad.to_string())?;
    let policy = &generation.policy;
    let facts = prepared.facts(policy);
    let mut scratch = Scratch::default();
    Ok(Told {
        v: VERSION,
        generation: generation.number,
        answer: Explained::of(policy, &facts, &mut scratch),
        trace: Trace::of(policy, &generation.set, &facts, &mut scratch),
    })
}

/// How long whoever asks about policies waits after a question that took so long, so that health and
/// metrics are answered in between.
pub(super) fn rest_after(begun: Instant) -> Duration {
    const MOST: Duration = Duration::from_secs(5);
    (begun.elapsed() * SHARE).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_forms_write_them() {
        let (found, limit) =
            wanted("limit=9999&host=a%2Eexample&user=&rule=no+secrets%21&before=7&client=%3A%3A1")
                .unwrap();
        assert_eq!(limit, LIMITS.1);
        let expected = Wanted {
            before: Some(7),
            client: Some("::1".parse().unwrap()),
            host: Some("a.example".into()),
            rule: Some("no secrets!".into()),
            ..Wanted::default()
        };
        assert_eq!(found, expected);
        for wrong in [
            "limit=x",
            "client=news",
            "hots=a",
            "host=%zz",
            "host=%ff",
            "host=%4",
        ] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
        assert_eq!(wanted("limit=0").unwrap().1, 1);
    }
}
