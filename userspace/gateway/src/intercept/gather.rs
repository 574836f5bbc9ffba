//! Reads that bring as much as there is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::through::writes_through;

/// A stream of which one read brings all that has arrived and has room.
///
/// TLS brings one record at a time, of 16 KiB at most. Each read of HTTP becomes one write on the
/// other leg, with a turn of two tasks between them, so that few large ones cost less.
#[derive(Debug)]
pub(crate) struct Gather<S> {
    stream: S,
    /// What ended a read that had brought something before.
    error: Option<io::Error>,
}

impl<S> Gather<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self {
            stream,
            error: None,
        }
    }

    /// The stream; nothing of it is kept here. What ended it ends it again.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        let begin = buffer.filled().len();
        loop {
            let before = buffer.filled().len();
            let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
            let brought = before > begin;
            match read {
                Poll::Ready(Ok(())) => {
                    if buffer.filled().len() == before || buffer.remaining() == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) if brought => {
                    self.error = Some(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending if brought => return Poll::Ready(Ok(())),
                other => return other,
            }
        }
    }
}

writes_through!(Gather);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use super::*;

    /// Brings one piece a read; `None` is an error.
    struct Pieces(VecDeque<Option<&'static [u8]>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.0.pop_front() {
                Some(Some(piece)) => buffer.put_slice(piece),
                Some(None) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                None => return Poll::Pending,
            }
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_came_before_an_error_or_the_end_is_not_lost() {
        let pieces: [Option<&[u8]>; 6] = [
            Some(b"ab"),
            Some(b"cd"),
            None,
            Some(b"e"),
            Some(b""),
            Some(b""),
        ];
        let mut stream = Gather::new(Pieces(pieces.into()));
        let mut read = async || {
            let mut bytes = [0; 16];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buffer)).await;
            read.map(|()| buffer.filled().to_vec())
        };
        assert_eq!(read().await.unwrap(), b"abcd");
        let error = read().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read().await.unwrap(), b"e");
        assert_eq!(read().await.unwrap(), b"");
    }

    #[tokio::test]
    async fn no_more_is_read_than_has_room() {
        let mut stream = Gather::new(Pieces([Some(&b"ab"[..]), Some(b"cd"), Some(b"ef")].into()));
        let mut bytes = [0; 4];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buffer))
            .await
            .unwrap();
        assert_eq!(buffer.filled(), b"abcd");
        assert_eq!(stream.stream.0.len(), 1);
    }
}
