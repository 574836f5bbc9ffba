//! First bytes to facts: TLS, QUIC, HTTP and foreign protocols; sans-IO.
