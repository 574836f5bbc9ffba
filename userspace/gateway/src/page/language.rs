//! What pages say, in each language.

use super::problem::Problem;

/// A language that pages can be in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// German.
    German,
}

/// What stands on every page beside what it is about.
pub(super) struct Words {
    pub(super) url: &'static str,
    pub(super) host: &'static str,
    pub(super) rule: &'static str,
    pub(super) why: &'static str,
    pub(super) user: &'static str,
    pub(super) time: &'static str,
    pub(super) reference: &'static str,
    pub(super) contact: &'static str,
    pub(super) proceed: &'static str,
}

/// A heading, and the sentences below it.
pub(super) struct Opening {
    pub(super) title: &'static str,
    pub(super) lead: &'static str,
}

const fn opening(title: &'static str, lead: &'static str) -> Opening {
    Opening { title, lead }
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::English, Self::German];

    /// The tag used in configuration and on the wire (RFC 5646).
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    pub(super) const fn words(self) -> Words {
        match self {
            Self::English => Words {
                url: "Address",
                host: "Server",
                rule: "Rule",
                why: "Details",
                user: "User",
                time: "Time",
                reference: "Reference",
                contact: "If you think that this is wrong, quote the reference and ask:",
                proceed: "Continue",
            },
            Self::German => Words {
                url: "Adresse",
                host: "Server",
                rule: "Regel",
                why: "Einzelheiten",
                user: "Benutzer",
                time: "Zeit",
                reference: "Kennung",
                contact: "Wenn Sie das für einen Irrtum halten, nennen Sie die Kennung und \
                          fragen Sie:",
                proceed: "Weiter",
            },
        }
    }

    pub(super) const fn blocked(self) -> Opening {
        match self {
            Self::English => opening(
                "This page is blocked",
                "The rules of this network do not allow it.",
            ),
            Self::German => opening(
                "Diese Seite ist gesperrt",
                "Die Regeln dieses Netzes lassen sie nicht zu.",
            ),
        }
    }

    /// Of a warning that can be continued from, and of one that cannot be from here.
    pub(super) const fn warning(self, can_proceed: bool, repeat: bool) -> Opening {
        match (self, can_proceed, repeat) {
            (Self::English, true, false) => opening(
                "Before you continue",
                "The rules of this network ask you to think twice about this page. If you \
                 continue, that is recorded.",
            ),
            (Self::English, true, true) => opening(
                "Before you continue",
                "The rules of this network ask you to think twice about this page. If you \
                 continue, that is recorded. What you sent was not passed on: send it once more \
                 after you have continued.",
            ),
            (Self::English, false, _) => opening(
                "A warning stands before this page",
                "The rules of this network ask people to confirm before they use this server. \
                 Open it in a browser and continue there.",
            ),
            (Self::German, true, false) => opening(
                "Bevor Sie weitergehen",
                "Die Regeln dieses Netzes bitten Sie, sich diese Seite zu überlegen. Wenn Sie \
                 weitergehen, wird das festgehalten.",
            ),
            (Self::German, true, true) => opening(
                "Bevor Sie weitergehen",
                "Die Regeln dieses Netzes bitten Sie, sich diese Seite zu überlegen. Wenn Sie \
                 weitergehen, wird das festgehalten. Was Sie gesendet haben, wurde nicht \
                 weitergegeben: Senden Sie es danach noch einmal.",
            ),
            (Self::German, false, _) => opening(
                "Vor dieser Seite steht eine Warnung",
                "Die Regeln dieses Netzes verlangen eine Bestätigung, bevor dieser Server benutzt \
                 wird. Öffnen Sie ihn in einem Browser und bestätigen Sie dort.",
            ),
        }
    }

    pub(super) const fn problem(self, problem: Problem) -> Opening {
        match (self, problem) {
            (Self::English, Problem::BadGateway) => opening(
                "The server cannot be reached safely",
                "The connection to it failed, or its answer could not be trusted.",
            ),
            (Self::German, Problem::BadGateway) => opening(
                "Der Server ist nicht sicher zu erreichen",
                "Die Verbindung zu ihm kam nicht zustande, oder seiner Antwort war nicht zu trauen.",
            ),
            (Self::English, Problem::GatewayTimeout) => opening(
                "The server does not answer",
                "It was asked and did not answer in time. Try again later.",
            ),
            (Self::German, Problem::GatewayTimeout) => opening(
                "Der Server antwortet nicht",
                "Er wurde gefragt und hat nicht rechtzeitig geantwortet. Versuchen Sie es später \
                 noch einmal.",
            ),
            (Self::English, Problem::Prohibited) => opening(
                "This address cannot be reached through the gateway",
                "It belongs to the gateway itself, or to what only the gateway can reach.",
            ),
            (Self::German, Problem::Prohibited) => opening(
                "Diese Adresse ist durch das Gateway nicht zu erreichen",
                "Sie gehört zum Gateway selbst oder zu dem, was nur das Gateway erreicht.",
            ),
            (Self::English, Problem::Credentials) => opening(
                "The proxy asks who you are",
                "Sign in with the name and password that you were given for this network.",
            ),
            (Self::German, Problem::Credentials) => opening(
                "Der Proxy fragt, wer Sie sind",
                "Melden Sie sich mit dem Namen und dem Passwort an, die Sie für dieses Netz haben.",
            ),
            (Self::English, Problem::Loop) => opening(
                "The request goes in a circle",
                "It came back to the gateway that had sent it on. Tell whoever runs the network.",
            ),
            (Self::German, Problem::Loop) => opening(
                "Die Anfrage dreht sich im Kreis",
                "Sie kam zu dem Gateway zurück, das sie weitergegeben hatte. Sagen Sie denen \
                 Bescheid, die das Netz betreiben.",
            ),
            (Self::English, Problem::Unavailable) => opening(
                "The gateway is busy",
                "It has no room for this request at the moment. Try again shortly.",
            ),
            (Self::German, Problem::Unavailable) => opening(
                "Das Gateway ist ausgelastet",
                "Es hat gerade keinen Platz für diese Anfrage. Versuchen Sie es gleich noch einmal.",
            ),
            (Self::English, Problem::Misdirected) => opening(
                "The request went to another server",
                "It names a server that this connection was not made to. Load the page again.",
            ),
            (Self::German, Problem::Misdirected) => opening(
                "Die Anfrage ging an einen anderen Server",
                "Sie nennt einen Server, zu dem diese Verbindung nicht besteht. Laden Sie die Seite \
                 neu.",
            ),
            (Self::English, Problem::UrlTooLong | Problem::HeadersTooLarge) => opening(
                "The request is too large",
                "Its address or its header fields are longer than the gateway takes. Deleting the \
                 cookies of this site may help.",
            ),
            (Self::German, Problem::UrlTooLong | Problem::HeadersTooLarge) => opening(
                "Die Anfrage ist zu groß",
                "Ihre Adresse oder ihre Kopfzeilen sind länger, als das Gateway annimmt. Die \
                 Cookies dieser Seite zu löschen kann helfen.",
            ),
            (Self::English, Problem::NotSupported | Problem::Version | Problem::Method) => opening(
                "The request is of a kind that is not supported",
                "The gateway does not pass on requests of this kind.",
            ),
            (Self::German, Problem::NotSupported | Problem::Version | Problem::Method) => opening(
                "Anfragen dieser Art werden nicht unterstützt",
                "Das Gateway gibt sie nicht weiter.",
            ),
            (Self::English, Problem::Forbidden) => opening(
                "The confirmation does not count",
                "It is too old, or was made elsewhere. Open the page again and continue from there.",
            ),
            (Self::German, Problem::Forbidden) => opening(
                "Die Bestätigung gilt nicht",
                "Sie ist zu alt oder kam von anderswo. Öffnen Sie die Seite noch einmal und gehen \
                 Sie dort weiter.",
            ),
            (Self::English, Problem::BadRequest | Problem::TooLarge) => opening(
                "The request cannot be used",
                "It is not well formed, or may be understood in several ways.",
            ),
            (Self::German, Problem::BadRequest | Problem::TooLarge) => opening(
                "Die Anfrage ist unbrauchbar",
                "Sie ist fehlerhaft oder lässt sich verschieden verstehen.",
            ),
        }
    }
}
