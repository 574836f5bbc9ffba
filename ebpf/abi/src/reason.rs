//! Why a verdict, a drop or a close happened: one enum for counters, events, logs, metrics, docs.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $name:literal;)+) => {
        /// Why a verdict, a drop or a close happened.
        ///
        /// Codes below [`Reason::FIRST_USER`] are given by the kernel programs and fit six bits;
        /// the others by the daemon. Codes are never used again for another meaning.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant = $code,)+
        }

        impl Reason {
            /// Every reason, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word used in logs, metrics and documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence that says what happened.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }

            /// The reason of a code, or `None` where no reason has it.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// The frame carries no IP (ARP and the like).
    NotIp = 1, "not-ip";
    /// The destination is one of the gateway's own addresses; the host's firewall owns it.
    ToGateway = 2, "to-gateway";
    /// Multicast, broadcast or IPv6 link-local: never forwarded.
    Unforwarded = 3, "unforwarded";
    /// The packet belongs to a flow that was let through.
    Flow = 4, "flow";
    /// The port or protocol is named in a pass list.
    Listed = 5, "listed";
    /// The gateway itself sends the packet from one of its addresses.
    FromGateway = 6, "from-gateway";
    /// A socket of the gateway sends the packet for an origin.
    OwnSocket = 7, "own-socket";
    /// An ICMP error or echo within the rate, and of a known flow where it comes from outside.
    Icmp = 8, "icmp";
    /// An egress rule decides.
    EgressRule = 9, "egress-rule";
    /// A TCP packet of no known flow is taken for the rest of an older one.
    MidstreamAdopted = 10, "midstream-adopted";
    /// No list or rule names the port or protocol: the egress default decides.
    EgressDefault = 11, "egress-default";
    /// The port is steered to the daemon.
    Steered = 12, "steered";
    /// The daemon is gone and `on_failure` is "open".
    FailOpen = 13, "fail-open";
    /// A later fragment follows the verdict of its first.
    Fragment = 14, "fragment";
    /// A TCP packet of no known flow.
    Midstream = 20, "midstream";
    /// A TCP port that the recipe closes.
    NativeTcp = 21, "native-tcp";
    /// A UDP port that the recipe closes.
    NativeUdp = 22, "native-udp";
    /// QUIC on UDP 443.
    Quic = 23, "quic";
    /// A datagram on UDP 443 that begins a flow and is not QUIC.
    NotQuic = 24, "not-quic";
    /// A transport protocol that nobody named.
    Protocol = 25, "protocol";
    /// UDP from outside that no client asked for.
    InboundUdp = 26, "inbound-udp";
    /// A TCP connection from outside that nobody let in.
    InboundTcp = 27, "inbound-tcp";
    /// Another protocol from outside that no client asked for.
    InboundOther = 28, "inbound-other";
    /// An ICMP type that is neither an error nor echo.
    IcmpType = 29, "icmp-type";
    /// ICMP above the rate per client.
    IcmpRate = 30, "icmp-rate";
    /// The daemon is gone and `on_failure` is "closed".
    FailClosed = 31, "fail-closed";
    /// The packet ends before its headers do, or its lengths contradict each other.
    PacketTruncated = 32, "packet-truncated";
    /// A header field has a value that no packet may have.
    BadHeader = 33, "bad-header";
    /// An IPv4 source route or an IPv6 routing header with segments left.
    SourceRoute = 34, "source-route";
    /// The IPv6 extension headers are too many, too long, or cannot be walked.
    ExtensionChain = 35, "extension-chain";
    /// A later fragment whose first is not known.
    FragmentUnknown = 36, "fragment-unknown";
    /// A first fragment that does not hold the whole transport header.
    FragmentShort = 37, "fragment-short";
    /// A fragment towards a steered port.
    FragmentSteered = 38, "fragment-steered";
    /// A later fragment that reaches back into the transport header.
    FragmentOverlap = 39, "fragment-overlap";
    /// A combination of TCP flags that no stack sends.
    TcpFlags = 40, "tcp-flags";
    /// A source address that no client may have.
    BadSource = 41, "bad-source";
    /// A destination address that must not be forwarded to.
    BadDestination = 42, "bad-destination";
    /// The table of established flows is full.
    FlowLimit = 43, "flow-limit";
    /// The client has as many established flows as one client may have.
    ClientFlowLimit = 44, "client-flow-limit";
    /// A Multipath TCP join: a second path for a connection that was judged elsewhere.
    MptcpJoin = 45, "mptcp-join";
    /// A client dialled the transparent listener itself.
    ListenerPort = 46, "listener-port";
    /// The kernel refused to hand the packet to the socket.
    AssignFailed = 47, "assign-failed";
    /// More than two VLAN tags.
    VlanDepth = 48, "vlan-depth";
    /// A packet to be rejected got no answer: the client has had its share of answers.
    RejectRate = 49, "reject-rate";
    /// The programs are attached and no policy has been loaded.
    NoPolicy = 50, "no-policy";
    /// The answer to a rejected packet could not be built.
    RejectFailed = 51, "reject-failed";
    /// A rule of the policy refuses the flow by its addresses and port alone.
    PolicyRule = 52, "policy-rule";

    /// A rule of the policy decides.
    Rule = 64, "rule";
    /// No rule decides and the flow is TLS or HTTP with a server name.
    Default = 65, "default";
    /// No rule decides and the flow is neither TLS nor HTTP, or names no server.
    DefaultUnidentified = 66, "default-unidentified";
    /// The client's first bytes are not TLS.
    NotTls = 70, "not-tls";
    /// The client's first bytes are a ClientHello in SSLv2 format.
    Sslv2Hello = 71, "sslv2-hello";
    /// The client begins with a TLS record of no length.
    ZeroLengthRecord = 72, "zero-length-record";
    /// The client ended before its ClientHello was whole.
    HelloTruncated = 73, "truncated";
    /// The ClientHello is larger than the limit.
    HelloOversize = 74, "oversize";
    /// The ClientHello was not whole within its time.
    HelloTimeout = 75, "timeout";
    /// The client sent nothing.
    Silent = 76, "silent";
    /// The origin speaks first.
    ServerFirst = 77, "server-first";
    /// The ClientHello cannot be decoded.
    HelloMalformed = 78, "malformed-hello";
    /// The client refused a leaf of the gateway's before, which is remembered.
    ClientRejectedCa = 79, "client-rejected-ca";
    /// The origin supports no version of TLS that the client offers.
    NoCommonVersion = 80, "no-common-version";
    /// The origin supports no cipher suite that the client offers.
    NoCommonCipher = 81, "no-common-cipher";
    /// The origin answers the ClientHello with what no version of TLS allows.
    InconsistentServerHello = 82, "inconsistent-server-hello";
    /// The origin ended before it had answered the ClientHello.
    OriginClosed = 83, "origin-closed";
    /// A TLS handshake of the gateway's own with the origin failed.
    OriginHandshakeFailed = 84, "origin-handshake-failed";
    /// The origin asks for a client certificate, which the gateway does not have.
    ClientCertificateRequired = 85, "client-certificate-required";
    /// Whether the origin's certificate was revoked, or what a critical extension of it means, is not
    /// known, so that the flow is not decrypted.
    OriginUnverifiable = 86, "origin-unverifiable";
    /// No leaf could be made for the name that the client asks for.
    LeafUnavailable = 87, "leaf-unavailable";
    /// The client's handshake with the gateway failed, for another reason than the leaf.
    ClientHandshakeFailed = 88, "client-handshake-failed";
    /// The decision hangs on a stage that could not be reached.
    StageUnavailable = 89, "stage-unavailable";
    /// The gateway has as many flows as it may have.
    GatewayFlowLimit = 90, "gateway-flow-limit";
    /// The client has as many flows through the daemon as one client may have.
    GatewayClientLimit = 91, "gateway-client-limit";
    /// The flow leads to the gateway itself.
    SelfConnect = 92, "self-connect";
    /// The address is one that the daemon never connects to.
    NeverConnect = 93, "never-connect";
    /// The origin refused the connection.
    OriginRefused = 94, "origin-refused";
    /// The origin could not be reached.
    OriginUnreachable = 95, "origin-unreachable";
    /// The origin did not answer in time.
    OriginTimeout = 96, "origin-timeout";
    /// Both sides finished.
    Finished = 97, "finished";
    /// The client reset the connection.
    ClientReset = 98, "client-reset";
    /// The origin reset the connection.
    OriginReset = 99, "origin-reset";
    /// No byte moved for the idle time.
    IdleTimeout = 100, "idle-timeout";
    /// The flow lasted longer than a flow may last.
    TotalTimeout = 101, "total-timeout";
    /// The daemon ended and the flow outlived the drain.
    Drained = 102, "drained";
    /// A fault of sluice itself ended the flow.
    Internal = 103, "internal";
    /// The client's handshake with the gateway was not done within its time.
    ClientHandshakeTimeout = 104, "client-handshake-timeout";
    /// A request that is not HTTP, or could be read in more than one way.
    BadRequest = 105, "bad-request";
    /// A request for another server than the one that the connection was made for.
    MisdirectedRequest = 106, "misdirected-request";
    /// A warning that the user has not gone on behind.
    Warned = 107, "warned";
    /// What rules say hangs on requests, so that the flow is decrypted and each request judged.
    NeedsRequests = 108, "needs-requests";
    /// The address that the client dialled is none of the server name's.
    UntrueName = 109, "untrue-name";
    /// The addresses of the server name could not be found.
    UnresolvedName = 110, "unresolved-name";
    /// The client was shown what is wrong with the origin's certificate, and did not go on.
    CertificateInvalid = 111, "certificate-invalid";
    /// Access records cannot be written, and no flow is to go without one.
    AuditUnavailable = 112, "audit-unavailable";
    /// The gateway was asked to connect to a private address, or into a network of its own.
    PrivateDestination = 113, "private-destination";
    /// The ClientHello that follows a HelloRetryRequest says something else than the first.
    HelloRetryMismatch = 114, "hello-retry-mismatch";
    /// The client showed no credentials that count, and the proxy listener asks for some.
    NoCredentials = 115, "no-credentials";
    /// The request came back to the proxy that had sent it on.
    ProxyLoop = 116, "proxy-loop";
}

impl Reason {
    /// The first code that the daemon gives; smaller ones are the kernel's.
    pub const FIRST_USER: u8 = 64;

    /// The number that stands for the reason in maps, events and entries.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether the kernel programs give this reason.
    #[must_use]
    pub const fn is_kernel(self) -> bool {
        self.code() < Self::FIRST_USER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_codes_are_unique() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(
            Reason::ALL
                .windows(2)
                .all(|pair| pair[0].code() < pair[1].code())
        );
    }

    #[test]
    fn a_code_leads_back_to_its_reason() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(Reason::from_code(0), None);
    }
}
