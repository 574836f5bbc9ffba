//! What clients are given: certificates, never keys.

use std::fmt::Write as _;

use crate::{CaCertificate, certificate::hex};

/// How certificates are written for clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// PEM, one block after another: Linux, Firefox, most tools.
    Pem,
    /// DER, which holds one certificate: Windows, Android, Java.
    Der,
    /// A configuration profile: iOS, iPadOS and macOS (Apple, "Configuration Profile Reference",
    /// payload com.apple.security.root).
    MobileConfig,
}

/// Why certificates cannot be written in a format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// DER was asked for, of several certificates.
    #[error("DER holds one certificate, and there are {0}: export one of them, or write PEM")]
    OneOnly(usize),
}

/// Writes certificates for clients to install.
///
/// # Errors
///
/// [`ExportError::OneOnly`].
pub fn export(certificates: &[&CaCertificate], format: Format) -> Result<Vec<u8>, ExportError> {
    match (format, certificates) {
        (Format::Pem, all) => {
            let pem: String = all.iter().map(|certificate| certificate.pem()).collect();
            Ok(pem.into_bytes())
        }
        (Format::Der, [one]) => Ok(one.der().to_vec()),
        (Format::Der, several) => Err(ExportError::OneOnly(several.len())),
        (Format::MobileConfig, all) => Ok(profile(all).into_bytes()),
    }
}

/// The same certificates give the same identifiers, so that installing a profile again replaces
/// it.
fn profile(certificates: &[&CaCertificate]) -> String {
    let mut payloads = String::new();
    let mut seed = Vec::new();
    for certificate in certificates {
        let fingerprint = &certificate.fingerprint.0;
        seed.extend_from_slice(fingerprint);
        let pem = certificate.pem();
        let data: String = pem
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .map(|line| format!("        {line}\n"))
            .collect();
        let (name, uuid) = (escaped(&certificate.subject), uuid(fingerprint));
        let short = hex(fingerprint.get(..8).unwrap_or_default());
        // Writing to a String cannot fail.
        let _ = write!(
            payloads,
            "      <dict>
        <key>PayloadType</key>
        <string>com.apple.security.root</string>
        <key>PayloadVersion</key>
        <integer>1</integer>
        <key>PayloadIdentifier</key>
        <string>sluice.ca.{short}</string>
        <key>PayloadUUID</key>
        <string>{uuid}</string>
        <key>PayloadDisplayName</key>
        <string>{name}</string>
        <key>PayloadContent</key>
        <data>
{data}        </data>
      </dict>
"
        );
    }
    // Of the whole set, and never that of a payload.
    seed.push(b'p');
    let whole = crate::Fingerprint::of(&seed).0;
    let (short, uuid) = (hex(whole.get(..8).unwrap_or_default()), uuid(&whole));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<plist version=\"1.0\">
  <dict>
    <key>PayloadType</key>
    <string>Configuration</string>
    <key>PayloadVersion</key>
    <integer>1</integer>
    <key>PayloadIdentifier</key>
    <string>sluice.profile.{short}</string>
    <key>PayloadUUID</key>
    <string>{uuid}</string>
    <key>PayloadDisplayName</key>
    <string>Certificates of the gateway</string>
    <key>PayloadDescription</key>
    <string>Lets this device trust what the gateway of its network signs.</string>
    <key>PayloadContent</key>
    <array>
{payloads}    </array>
  </dict>
</plist>
"
    )
}

/// A UUID made of the first half of a digest (RFC 9562 section 5.8, version 8).
fn uuid(digest: &[u8; 32]) -> String {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = *from;
    }
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes).to_uppercase();
    let part = |range| digits.get(range).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32)
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
