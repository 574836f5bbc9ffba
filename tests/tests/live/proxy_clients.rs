//! Clients that people and machines use, through the proxies of the real daemon.

use std::process::Output;

use sluice_tests::family::Family;

use crate::{
    proxy_site::{BLOCKED, CHAT, Door, HOST, Site},
    support::{eventually, said},
    tools::bracketed,
};

/// A client, as a script of the shell that tells the news in the end.
struct Client {
    name: &'static str,
    /// Whether its CONNECT says what it is.
    identifies: bool,
    /// Whether it also fetches from `http://`.
    plain: bool,
    script: &'static str,
}

const CLIENTS: &[Client] = &[
    Client {
        name: "curl",
        identifies: true,
        plain: true,
        script: r#"curl --silent --show-error --fail --cacert "$CA" --proxy "$PROXY" "$URL/news.txt""#,
    },
    Client {
        name: "wget",
        identifies: true,
        plain: true,
        script: r#"export http_proxy=$PROXY https_proxy=$PROXY
            wget --no-verbose --tries=1 --ca-certificate="$CA" -O - "$URL/news.txt""#,
    },
    Client {
        name: "git",
        identifies: true,
        plain: true,
        script: r#"git -c http.proxy="$PROXY" -c http.sslCAInfo="$CA" clone "$URL/tiny.git" tiny
            cat tiny/news.txt"#,
    },
    Client {
        name: "apt-get",
        identifies: true,
        plain: true,
        script: r#"mkdir -p etc/apt/apt.conf.d etc/apt/preferences.d state/lists/partial cache/archives/partial
            echo "deb [trusted=yes] $URL/apt ./" > etc/apt/sources.list
            : > status
            cat > apt.conf <<END
            Dir "$PWD";
            Dir::State "$PWD/state";
            Dir::State::status "$PWD/status";
            Dir::Cache "$PWD/cache";
            APT::Sandbox::User "root";
            Acquire::Retries "0";
            Acquire::http::Proxy "$PROXY";
            Acquire::https::Proxy "$PROXY";
            Acquire::https::CAInfo "$CA";
END
            export APT_CONFIG=$PWD/apt.conf
            apt-get -o APT::Update::Error-Mode=any update
            apt-get --yes --download-only install tiny
            dpkg-deb --extract cache/archives/tiny_1.0_all.deb root
            cat root/usr/share/tiny/news.txt"#,
    },
    Client {
        name: "pip",
        identifies: false,
        plain: false,
        script: r#"export PIP_CONFIG_FILE=/dev/null PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
            "$PYTHON" -m pip install --no-cache-dir --retries 0 --target here --proxy "$PROXY" \
                --cert "$CA" --index-url "$URL/simple" tiny
            PYTHONPATH=here "$PYTHON" -c 'import tiny; print(tiny.NEWS)'"#,
    },
    Client {
        name: "requests",
        identifies: false,
        plain: true,
        script: r#"export http_proxy=$PROXY https_proxy=$PROXY REQUESTS_CA_BUNDLE=$CA
            "$PYTHON" - "$URL/news.txt" <<END
import requests, sys
answer = requests.get(sys.argv[1], timeout=20)
answer.raise_for_status()
print(answer.text)
END
            "#,
    },
    Client {
        name: "npm",
        identifies: false,
        plain: false,
        script: r#"echo '{}' > package.json
            npm install --registry "$URL/npm/" --proxy "$PROXY" --https-proxy "$PROXY" --cafile "$CA" \
                --fetch-retries 0 --no-audit --no-fund --no-update-notifier tiny
            node -e 'console.log(require("tiny"))'"#,
    },
    Client {
        name: "cargo",
        identifies: true,
        plain: false,
        script: r#"mkdir -p src home
            : > src/lib.rs
            printf '[package]\nname = "user"\nedition = "2021"\n[dependencies]\ntiny = "1"\n' > Cargo.toml
            export CARGO_HOME=$PWD/home CARGO_HTTP_PROXY=$PROXY CARGO_HTTP_CAINFO=$CA CARGO_NET_RETRY=0
            printf '[source.crates-io]\nreplace-with = "lab"\n[source.lab]\nregistry = "sparse+%s/index/"\n' \
                "$URL" > home/config.toml
            cargo fetch
            cat home/registry/src/*/tiny-1.0.0/src/lib.rs"#,
    },
    Client {
        name: "openssl",
        identifies: false,
        plain: false,
        script: r#"who=${PROXY#http://} who=${who%"$PLACE"} who=${who%@}
            set -- -proxy "$PLACE"
            if test -n "$who"; then set -- "$@" -proxy_user "${who%:*}" -proxy_pass "pass:${who#*:}"; fi
            printf 'GET /news.txt HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$HOST" |
                openssl s_client -quiet -verify_return_error "$@" -connect "$HOST:443" \
                    -servername "$HOST" -CAfile "$CA""#,
    },
];

/// Whether the client has the news; what it was told where it has not.
fn news(output: &Output) -> Result<(), String> {
    let text = said(output);
    let got = output.status.success() && text.contains("the news\n");
    if got { Ok(()) } else { Err(text) }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn real_clients_tunnel_and_those_that_do_not_say_what_they_are_where_they_may() {
    let site = Site::new("").with_tree();
    let refused = || {
        let records = site.records(Door::Default);
        let of = records.iter().filter(|one| one["verdict"] == "block");
        of.filter(|one| one["connect"] == format!("{HOST}:443"))
            .count()
    };
    for client in CLIENTS {
        let run = |door| news(&site.run(client.script, door, "", "https"));
        let name = client.name;
        assert_eq!(run(Door::Open), Ok(()), "{name}");
        let before = refused();
        match (run(Door::Default), client.identifies) {
            (Ok(()), true) => assert_eq!(refused(), before, "{name}"),
            (Err(_), false) => {
                eventually(name, || refused() > before);
            }
            (told, _) => panic!("{name}: {told:?}"),
        }
    }
    let tunnels = CLIENTS.len();
    eventually("the tunnels of all", || {
        let records = site.records(Door::Open);
        records
            .iter()
            .filter(|record| record["verdict"] == "splice")
            .count()
            >= tunnels
    });
    for record in site.records(Door::Open) {
        assert_eq!(record["connect"], format!("{HOST}:443"), "{record}");
        assert_eq!(record["sni"], HOST, "{record}");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn real_clients_fetch_in_the_clear() {
    let site = Site::new("").with_tree();
    for client in CLIENTS.iter().filter(|client| client.plain) {
        let fetched = news(&site.run(client.script, Door::Default, "", "http"));
        assert_eq!(fetched, Ok(()), "{}", client.name);
    }
    let url = format!("http://{HOST}/news.txt");
    eventually("all requests are recorded", || {
        let records = site.records(Door::Default);
        assert!(
            records.iter().all(|one| one["method"] == "GET"),
            "{records:?}"
        );
        let news = records.iter().filter(|one| one["url"] == url.as_str());
        news.count() >= 3
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn real_clients_say_who_they_are() {
    let site = Site::new("").with_tree();
    for client in CLIENTS {
        let fetched = news(&site.run(client.script, Door::Staff, "alice:secret@", "https"));
        assert_eq!(fetched, Ok(()), "{}", client.name);
    }
    let users = |verdict: &str| {
        let records = site.records(Door::Staff);
        let of = records.iter().filter(|one| one["verdict"] == verdict);
        let of = of.filter(|one| one["connect"] == format!("{HOST}:443"));
        of.map(|one| one["user"].clone()).collect::<Vec<_>>()
    };
    eventually("a tunnel of each", || {
        users("splice").len() >= CLIENTS.len()
    });
    assert!(users("splice").iter().all(|user| user == "alice"));
}

#[test]
#[ignore = "root: cargo xtask test"]
fn curl_is_asked_for_credentials_and_refused_with_a_reason() {
    let site = Site::new("").with_tree();
    let curl = |door: Door, family: Family, more: &str| {
        let script = format!(
            "curl --silent --show-error --include --max-time 20 --cacert $CA --proxy-cacert $CA \
             --resolve 'proxy.example:3131:{}' --proxy '{}' {more}",
            bracketed(family.gateway_lan()),
            match door {
                Door::Tls => "https://proxy.example:3131".to_owned(),
                door => door.url(family, ""),
            },
        );
        said(&site.run(&script, door, "", "https"))
    };
    for family in Family::ALL {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{HOST}/news.txt");
            for door in [Door::Default, Door::Tls] {
                let told = curl(door, family, &url);
                assert!(told.contains("the news\n"), "{door:?}: {told}");
                let told = curl(door, family, &format!("{scheme}://{BLOCKED}/"));
                assert!(told.contains("HTTP/1.1 403 "), "{door:?}: {told}");
                assert!(told.contains("http_request_denied"), "{door:?}: {told}");
                // The page of a refused CONNECT is for nobody to read.
                let page = told.contains("Ask the help desk.");
                assert_eq!(page, scheme == "http", "{door:?}: {told}");
            }
            for (who, status) in [
                ("", "HTTP/1.1 407 "),
                ("--proxy-user alice:wrong", "HTTP/1.1 407 "),
                ("--proxy-user mallory:secret", "HTTP/1.1 407 "),
                ("--proxy-user bob:secret", "HTTP/1.1 403 "),
                ("--proxy-user alice:secret", "the news\n"),
            ] {
                let told = curl(Door::Staff, family, &format!("{who} {url}"));
                assert!(told.contains(status), "{scheme}, {who}: {told}");
                if status.contains("407") {
                    let challenge = "Basic realm=\"sluice\"";
                    assert!(told.contains(challenge), "{scheme}, {who}: {told}");
                }
            }
        }
    }
    let of = |user: &str| {
        let mut records = site.records(Door::Staff);
        records.retain(|record| record["user"] == user);
        records
    };
    // A tunnel and a request of each family.
    eventually("what alice did", || of("alice").len() == 4);
    for record in of("alice") {
        assert_ne!(record["verdict"], "block", "{record}");
    }
    // Of a tunnel that is refused there are records of the request and of the flow.
    eventually("what bob did", || of("bob").len() == 6);
    for record in of("bob") {
        assert_eq!(record["rule"], "staff only", "{record}");
    }
    assert!(of("mallory").is_empty());
}

#[test]
#[ignore = "root: cargo xtask test"]
fn websockets_are_spoken_through_tunnels_and_in_the_clear() {
    let site = Site::new("");
    let talk = |scheme: &str| {
        let script = format!(
            "\"$PYTHON\" - \"$PROXY\" {scheme}://{CHAT}/chat \"$CA\" <<'END'\n{}END\n",
            include_str!("proxy_site/talk.py")
        );
        news(&site.run(&script, Door::Default, "", ""))
    };
    for scheme in ["http", "wss"] {
        assert_eq!(talk(scheme), Ok(()), "{scheme}");
    }
    eventually("the tunnel and the request", || {
        site.records(Door::Default).len() == 2
    });
    for record in site.records(Door::Default) {
        assert!(record.to_string().contains(CHAT), "{record}");
        assert_ne!(record["verdict"], "block", "{record}");
    }
    // A request of HTTP has no URL of this kind (RFC 6455 section 4.1 has clients ask for a tunnel).
    let told = talk("ws").unwrap_err();
    assert!(told.contains("501"), "{told}");
}
