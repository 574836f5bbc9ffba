//! An origin's answer before it goes to the client.

use http::{
    HeaderValue, StatusCode, Version,
    header::{ALT_SVC, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
    response::Parts,
};

use super::{
    Upgrade,
    fields::{digits, has_item, length, remove_hop_by_hop, with_control_character},
    refusal::{Fault, Framing},
};

/// Makes the head of an origin's answer fit for the client, or says why it is not passed on;
/// `asked` is the protocol that the request asked to switch to.
///
/// What is for one connection is removed, and Alt-Svc (RFC 7838), which would have the client go to
/// another place or by QUIC, around what was judged here. Everything else stays as it is,
/// Strict-Transport-Security too.
///
/// # Errors
///
/// [`Fault`]: the answer is not to be trusted with the length of its body, or switches protocols
/// unasked. The connection to the origin is closed then.
pub fn prepare_response(parts: &mut Parts, asked: Option<Upgrade>) -> Result<(), Fault> {
    if let Some(name) = with_control_character(&parts.headers) {
        return Err(Fault::Value(name));
    }
    framing(parts)?;
    let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let agreed = asked == Some(Upgrade::WebSocket)
        && has_item(&parts.headers, &UPGRADE, Upgrade::WebSocket.name());
    if switches && !agreed || parts.status.is_informational() && !switches {
        return Err(Fault::Switch);
    }
    if parts.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Err(Fault::ProxyAuthentication);
    }
    remove_hop_by_hop(&mut parts.headers);
    parts.headers.remove(ALT_SVC);
    if switches {
        let headers = &mut parts.headers;
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(())
}

fn framing(parts: &mut Parts) -> Result<(), Framing> {
    // Some servers say the same length twice, and nobody who reads either is misled.
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(first), Some(second)) = (lengths.next(), lengths.next()) {
        let agree = first == second && lengths.all(|length| length == first);
        let first = first.clone();
        if !agree || digits(&first).is_none() {
            return Err(Framing::Length);
        }
        parts.headers.insert(CONTENT_LENGTH, first);
    }
    let announced = length(&parts.headers, parts.version)?;
    let bodiless = parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT;
    let coded = parts.headers.contains_key(TRANSFER_ENCODING);
    // RFC 9110 section 8.6 and RFC 9112 section 6.1: these have no body to be of a length.
    if bodiless && (coded || announced.is_some_and(|length| length > 0)) {
        return Err(if coded {
            Framing::Coding
        } else {
            Framing::Length
        });
    }
    if coded && parts.version != Version::HTTP_11 {
        return Err(Framing::Coding);
    }
    Ok(())
}
