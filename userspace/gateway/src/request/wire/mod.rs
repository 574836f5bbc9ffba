//! Where messages of HTTP/1 begin and end on a connection, read in the one way that nobody reads
//! otherwise.
//!
//! HTTP parsers repair: they take a bare LF for the end of a line, or drop a length that stands
//! beside a transfer coding. What was repaired has lost what made it suspicious, so a [`Wire`] looks
//! at the bytes before the parser does. It knows where heads are because it follows bodies by their
//! length or their chunks; of bodies it reads nothing but the lines between chunks.
//!
//! No IO, and no memory of its own: what is not complete yet, the caller keeps and shows again.

mod head;

pub use head::{Asked, Bad};

use head::{Body, Head};

/// Bytes of a line between chunks, extensions included.
const CHUNK_LINE: usize = 4 << 10;
/// Bytes of trailers.
const TRAILERS: usize = 16 << 10;
/// Interim answers (1xx) before the one that counts.
const INTERIM: u8 = 16;
/// Bytes of a head's start line beside its URL.
const LINE: usize = 64;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the URL.
    pub url: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of the fields, with what stands between them.
    pub fields_size: usize,
}

/// What follows on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// A message, behind an empty line or not.
    Message {
        may_be_empty: bool,
    },
    /// Bytes of a body.
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// A body that the end of the connection ends.
    UntilEnd,
    /// Another protocol, if the other side agrees to it.
    Undecided,
    /// Another protocol.
    Opaque,
    Over(Bad),
}

/// How far a connection may be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rest {
    /// The rest begins something that is not whole yet: it is to be kept, and shown again with what
    /// follows. Nothing may be left.
    Partial,
    /// What follows depends on whether the other side switches protocols; [`Wire::decide`].
    Undecided,
    /// What follows cannot be read in one way only.
    Bad(Bad),
}

/// The messages of one direction of a connection.
#[derive(Debug)]
pub struct Wire {
    state: State,
    limits: Limits,
    /// Bytes of the part that is not whole yet, in which its end was looked for.
    searched: usize,
    interim: u8,
    /// Heads that were read, interim ones apart.
    heads: u64,
    answers: bool,
    /// Whether what is wrong stands where no head was expected.
    in_body: bool,
}

impl Wire {
    /// Requests, which are read strictly.
    #[must_use]
    pub const fn requests(limits: Limits) -> Self {
        Self {
            state: State::Message { may_be_empty: true },
            limits,
            searched: 0,
            interim: 0,
            heads: 0,
            answers: false,
            in_body: false,
        }
    }

    /// Answers. Lines may end with a bare LF in them, as old servers have it: the head that goes on
    /// is written anew.
    #[must_use]
    pub const fn answers(limits: Limits) -> Self {
        Self {
            answers: true,
            ..Self::requests(limits)
        }
    }

    /// Looks at what came, and says how many bytes of it are good and what is with the rest.
    /// `asked` gives what an answer is to, and takes it away where the answer is the last one;
    /// requests do not ask for it.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        asked: &mut impl FnMut(Take) -> Option<Asked>,
    ) -> (usize, Rest) {
        let mut good = 0;
        loop {
            let rest = bytes.get(good..).unwrap_or_default();
            match self.state {
                State::Undecided => return (good, Rest::Undecided),
                State::Over(bad) => return (good, Rest::Bad(bad)),
                _ if rest.is_empty() => return (good, Rest::Partial),
                _ => {}
            }
            match self.step(rest, asked) {
                Ok(Some(taken)) => {
                    self.searched = 0;
                    good += taken;
                }
                Ok(None) => {
                    self.searched = rest.len();
                    return (good, Rest::Partial);
                }
                Err(bad) => {
                    self.in_body = !matches!(self.state, State::Message { .. });
                    self.state = State::Over(bad);
                }
            }
        }
    }

    /// Heads that were read, those of interim answers apart.
    #[must_use]
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether what is wrong stands inside a body, so that its head was good.
    #[must_use]
    pub const fn is_in_body(&self) -> bool {
        self.in_body
    }

    /// Whether what follows depends on the other side.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.state == State::Undecided
    }

    /// Says whether the protocol was switched, where that was undecided.
    pub fn decide(&mut self, switched: bool) {
        if self.state == State::Undecided {
            self.state = if switched {
                State::Opaque
            } else {
                State::Message { may_be_empty: true }
            };
        }
    }

    /// Takes what is whole off the beginning; `None` where nothing is.
    fn step(
        &mut self,
        rest: &[u8],
        asked: &mut impl FnMut(Take) -> Option<Asked>,
    ) -> Result<Option<usize>, Bad> {
        let whole = rest.len();
        let taken = match self.state {
            State::UntilEnd | State::Opaque | State::Undecided | State::Over(_) => whole,
            State::Length(left) => {
                let taken = taken_of(left, whole);
                self.state = match left - taken as u64 {
                    0 => self.message(),
                    left => State::Length(left),
                };
                taken
            }
            State::Chunk(left) => {
                let taken = taken_of(left, whole);
                self.state = match left - taken as u64 {
                    0 => State::ChunkEnd,
                    left => State::Chunk(left),
                };
                taken
            }
            State::ChunkEnd => match rest {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkSize;
                    2
                }
                [b'\r'] => return Ok(None),
                _ => return Err(Bad::Chunk),
            },
            State::ChunkSize => {
                let Some(end) = self.line(rest) else {
                    return within(whole, CHUNK_LINE, Bad::Chunk);
                };
                within(end, CHUNK_LINE, Bad::Chunk)?;
                self.state = match head::chunk_size(rest.get(..end).unwrap_or_default())? {
                    0 => State::Trailers,
                    size => State::Chunk(size),
                };
                end
            }
            State::Trailers => {
                let Some(end) = self.section(rest) else {
                    return within(whole, TRAILERS, Bad::TooLarge);
                };
                within(end, TRAILERS, Bad::TooLarge)?;
                head::trailers(rest.get(..end).unwrap_or_default())?;
                self.state = self.message();
                end
            }
            State::Message { may_be_empty } => match rest {
                [b'\r', b'\n', ..] if may_be_empty && !self.answers => {
                    self.state = State::Message {
                        may_be_empty: false,
                    };
                    2
                }
                _ => return self.head(rest, asked),
            },
        };
        Ok(Some(taken))
    }

    const fn message(&self) -> State {
        State::Message { may_be_empty: true }
    }

    fn head(
        &mut self,
        rest: &[u8],
        asked: &mut impl FnMut(Take) -> Option<Asked>,
    ) -> Result<Option<usize>, Bad> {
        let to = if self.answers {
            Some(asked(Take::Look).ok_or(Bad::Unasked)?)
        } else {
            None
        };
        let end = self.section(rest);
        let seen = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let line = seen.iter().take(self.limits.url + LINE + 1);
        if line.clone().all(|&byte| byte != b'\n') && line.count() > self.limits.url + LINE {
            return Err(Bad::UrlTooLong);
        }
        within(
            seen.len(),
            self.limits.url + LINE + self.limits.fields_size,
            Bad::TooLarge,
        )?;
        let Some(end) = end else { return Ok(None) };
        let found = match to {
            None => head::request(seen, self.limits.fields)?,
            Some(to) => head::answer(seen, self.limits.fields, to)?,
        };
        if found != Head::Interim {
            self.heads += 1;
        }
        self.state = match found {
            Head::Interim if self.interim == INTERIM => return Err(Bad::Interim),
            Head::Interim => {
                self.interim += 1;
                self.message()
            }
            Head::Switch if self.answers => State::Opaque,
            Head::Switch => State::Undecided,
            Head::Message(body) => {
                self.interim = 0;
                asked(Take::Away);
                match body {
                    Body::Length(0) => self.message(),
                    Body::Length(length) => State::Length(length),
                    Body::Chunked => State::ChunkSize,
                    Body::UntilEnd => State::UntilEnd,
                }
            }
        };
        Ok(Some(end))
    }

    /// Where the first line ends.
    fn line(&self, rest: &[u8]) -> Option<usize> {
        let unseen = rest.get(self.searched..)?;
        let at = unseen.iter().position(|&byte| byte == b'\n')?;
        Some(self.searched + at + 1)
    }

    /// Where lines end that an empty one closes.
    fn section(&self, rest: &[u8]) -> Option<usize> {
        if let [b'\r', b'\n', ..] | [b'\n', ..] = rest {
            return rest.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        }
        // An end of a line may stand right before what is new.
        let mut from = self.searched.saturating_sub(2);
        loop {
            let unseen = rest.get(from..)?;
            let at = from + unseen.iter().position(|&byte| byte == b'\n')?;
            match rest.get(at + 1..) {
                Some([b'\n', ..]) => return Some(at + 2),
                Some([b'\r', b'\n', ..]) => return Some(at + 3),
                _ => from = at + 1,
            }
        }
    }
}

/// Whether what an answer is to stays, or is answered with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Take {
    /// It stays.
    Look,
    /// It is answered.
    Away,
}

fn taken_of(left: u64, there: usize) -> usize {
    usize::try_from(left).map_or(there, |left| left.min(there))
}

const fn within(length: usize, limit: usize, bad: Bad) -> Result<Option<usize>, Bad> {
    if length > limit { Err(bad) } else { Ok(None) }
}
