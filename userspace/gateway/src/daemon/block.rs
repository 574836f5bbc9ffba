//! How a blocked client is told.

use std::time::Duration;

use sluice_peek::NotTls;
use sluice_policy::BlockKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::leg::Leg;
use super::peek::First;

/// How long, and how many bytes, a client may go on sending after the alert. A socket closed with
/// bytes unread is reset, and the reset overtakes the alert.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// Fatal alerts (RFC 8446 section 6.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Alert {
    UnexpectedMessage = 10,
    RecordOverflow = 22,
    AccessDenied = 49,
    DecodeError = 50,
    ProtocolVersion = 70,
}

/// The alert for what a client sent; `None` where it does not speak TLS, or not yet.
const fn alert(first: Option<&First>) -> Option<Alert> {
    match first {
        Some(First::Hello(_)) => Some(Alert::AccessDenied),
        Some(First::NotTls(why)) => match why {
            NotTls::Sslv2Hello => Some(Alert::ProtocolVersion),
            NotTls::ZeroLengthRecord => Some(Alert::UnexpectedMessage),
            NotTls::Oversize => Some(Alert::RecordOverflow),
            NotTls::Malformed | NotTls::Truncated => Some(Alert::DecodeError),
            _ => None,
        },
        None => None,
    }
}

/// Ends a blocked client's connection: by an alert where the block is to be explained and the
/// client would understand it, by a reset otherwise.
///
/// A page needs a certificate of the gateway's own; without one it is an alert.
pub(crate) async fn block(mut client: Leg, kind: BlockKind, first: Option<&First>) {
    let alert = match kind {
        BlockKind::Reset => None,
        BlockKind::Alert | BlockKind::Page => alert(first),
    };
    let Some(alert) = alert else { return };
    // Type, legacy version, length, level fatal, description (RFC 8446 sections 5.1 and 6).
    let record = [21, 3, 3, 0, 2, 2, alert as u8];
    if client.stream_mut().write_all(&record).await.is_err()
        || client.stream_mut().shutdown().await.is_err()
    {
        return;
    }
    if timeout(LINGER, hear_out(&mut client)).await == Ok(true) {
        client.finish();
    }
}

/// Reads what the client still sends; true when it has ended in order.
async fn hear_out(client: &mut Leg) -> bool {
    let mut buffer = [0; 2048];
    let mut heard = 0;
    while heard < LINGER_BYTES {
        match client.stream_mut().read(&mut buffer).await {
            Ok(0) => return true,
            Ok(read) => heard += read,
            Err(_) => return false,
        }
    }
    false
}
