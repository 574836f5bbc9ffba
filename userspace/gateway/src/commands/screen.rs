//! A terminal that is drawn on anew again and again, and put back as it was.

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{sleep_until, timeout},
};

/// Another screen, no cursor, no lines that are wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How long the rest of an arrow key may take to arrive.
const REST_OF_KEY: Duration = Duration::from_millis(50);

/// What ends waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// A key that stands for something.
    Key(Key),
    /// The terminal has another size.
    Resized,
    /// The time is over.
    Over,
    /// The process is told to end.
    End,
}

/// A key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Key {
    /// A letter, in lower case.
    Letter(char),
    /// The arrow up.
    Up,
    /// The arrow down.
    Down,
}

/// The terminal.
pub(super) struct Screen {
    before: Termios,
    runtime: Runtime,
    keys: mpsc::Receiver<Vec<u8>>,
    signals: [Signal; 3],
    resized: Signal,
}

/// Whether there is somebody to draw for, who can press keys.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be set.
    pub(super) fn open() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (signals, resized) = {
            let _context = runtime.enter();
            let on = |kind| signal(kind);
            (
                [
                    on(SignalKind::terminate())?,
                    on(SignalKind::hangup())?,
                    on(SignalKind::interrupt())?,
                ],
                on(SignalKind::window_change())?,
            )
        };
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let screen = Self {
            before,
            runtime,
            keys: keys()?,
            signals,
            resized,
        };
        let mut out = io::stdout().lock();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => (80, 24),
        }
    }

    /// Draws a frame in place of the one before; what has no room is left out.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub(super) fn draw(&self, frame: &str) -> io::Result<()> {
        let (_, lines) = self.size();
        let mut text = String::from("\x1b[H");
        for (number, line) in frame.lines().take(lines).enumerate() {
            if number > 0 {
                text.push_str("\r\n");
            }
            text.push_str(line);
            text.push_str("\x1b[0m\x1b[K");
        }
        text.push_str("\x1b[J");
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Waits for what comes first.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub(super) fn next(&mut self, until: Instant) -> io::Result<Event> {
        let Self {
            runtime,
            keys,
            signals: [terminate, hang_up, interrupt],
            resized,
            ..
        } = self;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return Ok(Event::End),
                    _ = hang_up.recv() => return Ok(Event::End),
                    _ = interrupt.recv() => return Ok(Event::End),
                    _ = resized.recv() => return Ok(Event::Resized),
                    () = sleep_until(until.into()) => return Ok(Event::Over),
                    pressed = pressed(keys) => if let Some(event) = pressed {
                        return Ok(event);
                    },
                }
            }
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whoever is not there any more needs nothing put back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
        let mut out = io::stdout().lock();
        let _ = out.write_all(LEAVE.as_bytes());
        let _ = out.flush();
    }
}

/// What is typed, from a thread of its own: it waits for the next key until the process ends.
fn keys() -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, keys) = mpsc::channel(16);
    let read = move || {
        let mut bytes = [0; 16];
        while let Ok(count @ 1..) = io::stdin().read(&mut bytes) {
            let typed = bytes.get(..count).unwrap_or_default().to_vec();
            if sender.blocking_send(typed).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("keys".into()).spawn(read)?;
    Ok(keys)
}

async fn pressed(keys: &mut mpsc::Receiver<Vec<u8>>) -> Option<Event> {
    // A terminal from which nothing can be read any more is gone.
    let Some(mut bytes) = keys.recv().await else {
        return Some(Event::End);
    };
    if bytes == [0x1b]
        && let Ok(Some(rest)) = timeout(REST_OF_KEY, keys.recv()).await
    {
        bytes.extend(rest);
    }
    meaning(&bytes)
}

/// What a key means whose bytes these are.
fn meaning(bytes: &[u8]) -> Option<Event> {
    match bytes {
        // Ctrl-C, Ctrl-D, and the escape key by itself.
        [3 | 4 | 0x1b] => Some(Event::End),
        [0x1b, b'[' | b'O', b'A'] => Some(Event::Key(Key::Up)),
        [0x1b, b'[' | b'O', b'B'] => Some(Event::Key(Key::Down)),
        [byte] if byte.is_ascii_alphanumeric() => {
            Some(Event::Key(Key::Letter(byte.to_ascii_lowercase().into())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_their_bytes() {
        for (bytes, event) in [
            (&b"Q"[..], Some(Event::Key(Key::Letter('q')))),
            (b"\x03", Some(Event::End)),
            (b"\x1b", Some(Event::End)),
            (b"\x1b[A", Some(Event::Key(Key::Up))),
            (b"\x1bOB", Some(Event::Key(Key::Down))),
            (b"\x1b[5~", None),
            (b"\xc3", None),
        ] {
            assert_eq!(meaning(bytes), event, "{bytes:?}");
        }
    }
}
