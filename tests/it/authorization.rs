//! Who may open a socket, how they hear of it if not, and how long it lives.

use std::collections::HashSet;

use hark::auth::tokens::{Tokens, now};
use hark::config::{Cli, Secret};
use hark::model::UserId;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::support::{Answer, Client, SocketEnd, TestServer, User, answer, eventually};

type Header = (&'static str, String);

/// How programs show their token.
fn bearer(token: &str) -> Header {
    ("authorization", format!("Bearer {token}"))
}

/// How pages do: `new WebSocket(url, ["auth", token])`.
fn protocol(token: &str) -> Header {
    ("sec-websocket-protocol", format!("auth, {token}"))
}

fn origin(origin: &str) -> Header {
    ("origin", origin.to_owned())
}

/// Asks for an upgrade as plain HTTP, and gives back the status and the body of the refusal.
async fn refusal(server: &TestServer, path: &str, headers: &[Header]) -> (u16, Value) {
    let upgrade = [
        ("connection", "Upgrade".to_owned()),
        ("upgrade", "websocket".to_owned()),
        ("sec-websocket-version", "13".to_owned()),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
    ];
    let refused = get(server, path, &[&upgrade, headers].concat()).await;
    (refused.status, refused.ok(refused.status))
}

async fn get(server: &TestServer, path: &str, headers: &[Header]) -> Answer {
    let request = headers.iter().fold(server.http("GET", path), |request, (name, value)| request.header(*name, value));
    answer(request).await
}

/// A deletion over HTTP.
async fn delete(server: &TestServer, path: &str, token: &str) {
    answer(server.http("DELETE", path).bearer_auth(token)).await.no_content();
}

async fn log_out(server: &TestServer, token: &str) {
    delete(server, "/api/v1/auth/logout", token).await;
}

async fn open(server: &TestServer, headers: &[Header]) -> Client {
    let connected = Client::try_connect(server.server.address(), "/", headers).await;
    connected.unwrap_or_else(|error| panic!("no upgrade: {error}")).0
}

async fn assert_works(client: &mut Client) {
    let reply = client.call("listLastMessage", json!({})).await;
    assert_eq!(reply["success"], true, "{reply}");
}

fn not_authorized() -> SocketEnd {
    SocketEnd { code: 4001, reason: "Not authorized".to_owned() }
}

/// Tokens that are not good, each for another reason.
async fn bad_tokens(server: &TestServer) -> Vec<(&'static str, String)> {
    let user = server.user("Patrick0").await;
    let (expired, _) = server.sign_in(user.id, now() - 1).await;
    let revoked = server.user("Patrick1").await.token;
    log_out(server, &revoked).await;
    let gone = server.user("Patrick2").await.token;
    delete(server, "/api/v1/users/me", &gone).await;
    let foreign = Tokens::new(&Secret::from("another secret, also 32 bytes long"), 1);
    let session = server.session_of(&user.token);
    let foreign = foreign.sign(UserId(user.id), None, None, session, foreign.expiry()).expect("a token");
    let others_session = server.server.app().tokens.sign(UserId(user.id + 1), None, None, session, now() + 60);
    vec![
        ("garbage", "garbage".to_owned()),
        ("cut", user.token[..user.token.len() - 5].to_owned()),
        ("expired", expired),
        ("revoked", revoked),
        ("account gone", gone),
        ("another secret", foreign),
        ("session of another user", others_session.expect("a token")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_header_opens_a_socket_at_both_paths() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    for path in ["/", "/ws"] {
        for scheme in ["Bearer", "bearer"] {
            let header = ("authorization", format!("{scheme} {}", user.token));
            let connected = Client::try_connect(server.server.address(), path, &[header]).await;
            let (mut client, response) = connected.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(response.headers().get("sec-websocket-protocol").is_none());
            assert_works(&mut client).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_a_good_token_is_refused_with_401() {
    let server = TestServer::start().await;
    let good = server.user("Bob").await.token;
    let mut cases: Vec<(&str, Vec<Header>)> =
        bad_tokens(&server).await.into_iter().map(|(why, token)| (why, vec![bearer(&token)])).collect();
    cases.push(("no token", vec![]));
    for value in ["Bearer", "Bearer ", &format!("Basic {good}"), &good, &format!("Bearer{good}")] {
        cases.push(("malformed header", vec![("authorization", value.to_owned())]));
    }
    // Only after `auth` is a subprotocol a token.
    cases.push(("a token without auth", vec![("sec-websocket-protocol", good.clone())]));
    cases.push(("the header wins", vec![bearer("garbage"), protocol(&good)]));
    for path in ["/", "/ws"] {
        for (why, headers) in &cases {
            let (status, body) = refusal(&server, path, headers).await;
            assert_eq!((status, body), (401, json!({ "message": "Not authorized" })), "{path} {why}");
        }
    }
    assert_eq!(server.server.app().delivery.hub.open_sockets(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_its_token_as_a_subprotocol() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let token = &user.token;
    let ways = [
        vec![protocol(token)],
        vec![("sec-websocket-protocol", format!("auth,{token}"))],
        vec![("sec-websocket-protocol", "auth".to_owned()), ("sec-websocket-protocol", token.clone())],
        // The header wins, here over a bad one.
        vec![bearer(token), protocol("garbage")],
    ];
    for headers in ways {
        let connected = Client::try_connect(server.server.address(), "/", &headers).await;
        let (mut client, response) = connected.unwrap_or_else(|error| panic!("{headers:?}: {error}"));
        assert_eq!(response.headers()["sec-websocket-protocol"], "auth");
        assert_works(&mut client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_good_token_is_closed_4001_after_the_upgrade() {
    let server = TestServer::start().await;
    let cases: Vec<(&str, Header)> =
        bad_tokens(&server).await.into_iter().map(|(why, token)| (why, protocol(&token))).collect();
    for path in ["/", "/ws"] {
        for (why, header) in &cases {
            let headers = std::slice::from_ref(header);
            let connected = Client::try_connect(server.server.address(), path, headers).await;
            let (client, response) = connected.unwrap_or_else(|error| panic!("{path} {why}: {error}"));
            assert_eq!(response.headers()["sec-websocket-protocol"], "auth", "{path} {why}");
            assert_eq!(client.closed().await, not_authorized(), "{path} {why}");
        }
    }
    assert_eq!(server.server.app().delivery.hub.open_sockets(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_upgrade_opens_no_socket() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let header = |name, value: &str| (name, value.to_owned());
    let half = [header("connection", "Upgrade"), header("upgrade", "websocket"), bearer(&user.token)];
    let old = [header("sec-websocket-version", "12"), header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    for headers in [vec![bearer(&user.token)], half.to_vec(), [&half[..], &old].concat()] {
        assert_eq!(get(&server, "/ws", &headers).await.status, 400, "{headers:?}");
    }
    assert_eq!(get(&server, "/ws", &[]).await.status, 400);
    assert_eq!(answer(server.http("POST", "/ws").bearer_auth(&user.token)).await.status, 404);
    // Without an upgrade, the root is the page, token or not.
    assert_eq!(get(&server, "/", &[]).await.status, 200);
    assert_eq!(server.server.app().delivery.hub.open_sockets(), 0);
    assert_works(&mut server.connect(&user).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upgrade_is_known_in_any_spelling() {
    let server = TestServer::start().await;
    for path in ["/", "/ws"] {
        // Where the upgrade is seen, its token is missed.
        let upgrade = [
            ("connection", "Upgrade".to_owned()),
            ("upgrade", "WebSocket".to_owned()),
            ("sec-websocket-version", "13".to_owned()),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
        ];
        assert_eq!(get(&server, path, &upgrade).await.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_refused() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let own = server.server.address();
    assert_works(&mut open(&server, &[bearer(&user.token)]).await).await;
    assert_works(&mut open(&server, &[protocol(&user.token), origin(&format!("http://{own}"))]).await).await;
    let others = ["https://evil.example", "null", "", "http://127.0.0.1:1", &format!("http://{own}.evil.example")];
    for other in others {
        for token in [bearer(&user.token), protocol(&user.token), protocol("garbage")] {
            let (status, body) = refusal(&server, "/", &[token, origin(other)]).await;
            let expected = json!({ "message": "Pages of this origin may not connect", "code": "unauthorized" });
            assert_eq!((status, body), (403, expected), "{other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_lets_pages_of_other_origins_in() {
    let named = |config: &mut hark::config::Config| {
        let hark = <Cli as clap::Parser>::parse_from(["hark", "--allowed-origins", "https://Chat.example,http://b:81"]);
        config.allowed_origins = hark.config.allowed_origins;
    };
    let server = TestServer::with(named).await;
    let user = server.user("Patrick0").await;
    for allowed in ["https://chat.example", "http://b:81"] {
        assert_works(&mut open(&server, &[protocol(&user.token), origin(allowed)]).await).await;
    }
    for other in ["http://chat.example", "https://chat.example:444", "http://b", "https://evil.example"] {
        assert_eq!(refusal(&server, "/", &[protocol(&user.token), origin(other)]).await.0, 403, "{other}");
    }

    let server = TestServer::with(|config| config.allowed_origins = vec!["*".to_owned()]).await;
    let user = server.user("Patrick0").await;
    for any in ["https://evil.example", "null"] {
        assert_works(&mut open(&server, &[protocol(&user.token), origin(any)]).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_at_most_twenty_sockets() {
    let server = TestServer::start().await;
    let (user, other) = (server.user("Patrick0").await, server.user("Patrick1").await);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(server.connect(&user).await);
    }
    for headers in [[bearer(&user.token)], [protocol(&user.token)]] {
        let end = open(&server, &headers).await.closed().await;
        assert_eq!(end, SocketEnd { code: 4009, reason: "Too many sockets of one user".to_owned() });
    }
    assert_works(&mut server.connect(&other).await).await;
    for client in &mut clients {
        assert_works(client).await;
    }

    clients.pop().expect("a client").close().await;
    let hub = &server.server.app().delivery.hub;
    eventually("a place is free", async || hub.open_sockets() < 20).await;
    assert_works(&mut server.connect(&user).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_goes_to_every_socket_of_a_user_and_a_reply_to_the_one_that_asked() {
    let server = TestServer::start().await;
    let (user, mut asking) = server.client("Patrick0").await;
    let mut beside = server.connect(&user).await;
    let (receiver, first) = server.client("Patrick1").await;
    let mut receivers = [first, server.connect(&receiver).await, server.connect(&receiver).await];

    let reply = asking.call("privateMessage", json!({ "receiverId": receiver.id, "content": "Hi" })).await;
    let mut pushed = HashSet::new();
    for receiver in &mut receivers {
        let push = receiver.push().await;
        assert_eq!(push["params"]["item"]["messageId"], reply["params"]["item"]["messageId"]);
        pushed.insert(push.to_string());
    }
    assert_eq!(pushed.len(), 1, "all are told the same");
    asking.call("privateMessage", json!({ "receiverId": user.id, "content": "A note" })).await;
    let group = asking.call("newGroup", json!({ "groupName": "G", "userIds": [receiver.id] })).await;
    let group = &group["params"]["item"]["groupId"];
    asking.call("messageInGroup", json!({ "groupId": group, "content": "All" })).await;
    for receiver in &mut receivers {
        assert_eq!(receiver.push().await["type"], "addUserInGroup");
        assert_eq!(receiver.push().await["type"], "messageInGroup");
    }
    // The pushes above are delivered, so a reply from now on is behind whatever was said here.
    for client in [&mut asking, &mut beside] {
        assert_works(client).await;
        assert_eq!(client.pushes_so_far(), Vec::<Value>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_when_its_token_does() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let (token, _) = server.sign_in(user.id, now() + 2).await;
    let mut program = open(&server, &[bearer(&token)]).await;
    let page = open(&server, &[protocol(&token)]).await;
    assert_works(&mut program).await;
    assert_eq!(program.closed().await, not_authorized());
    assert_eq!(page.closed().await, not_authorized());
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticate_keeps_a_socket_open_past_its_old_end() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let soon = now() + 3;
    let (token, _) = server.sign_in(user.id, soon).await;
    let later = server.server.app().tokens.sign(UserId(user.id), None, None, server.session_of(&token), soon + 600);
    let mut clients = [open(&server, &[bearer(&token)]).await, open(&server, &[bearer(&token)]).await];
    let fresh = [later.expect("a token"), user.token];
    for (client, token) in clients.iter_mut().zip(fresh) {
        let reply = client.call("authenticate", json!({ "token": token })).await;
        assert_eq!(reply["success"], true, "{reply}");
    }
    eventually("the old end is more than a second ago", async || now() > soon + 1).await;
    for client in &mut clients {
        assert_works(client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_for_authenticate_changes_nothing() {
    let server = TestServer::start().await;
    let user = server.user("Bob").await;
    let other = server.user("Eve").await;
    let soon = now() + 4;
    let (token, _) = server.sign_in(user.id, soon).await;
    let mut client = open(&server, &[bearer(&token)]).await;
    let mut bad = bad_tokens(&server).await;
    bad.push(("another user's", other.token.clone()));
    bad.push(("empty", String::new()));
    bad.push(("with U+0000", "a\0b".to_owned()));
    for (why, token) in bad {
        let error = client.call("authenticate", json!({ "token": token })).await;
        let id = error["id"].clone();
        let expected = json!({ "error": true, "type": "authenticate", "message": "Not authorized", "code": "unauthorized", "id": id });
        assert_eq!(error, expected, "{why}");
    }
    // Neither is it the other user's now, nor does it live longer than before.
    let notes = client.call("privateMessage", json!({ "receiverId": user.id, "content": "Mine" })).await;
    assert_eq!(notes["params"]["item"]["seq"], 1, "{notes}");
    log_out(&server, &other.token).await;
    assert_works(&mut client).await;
    assert_eq!(client.closed().await, not_authorized());
    assert!(now() >= soon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_session() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let in_an_hour = now() + 3600;
    let (second, second_session) = server.sign_in(user.id, in_an_hour).await;
    let (third, _) = server.sign_in(user.id, in_an_hour).await;
    let first_clients = [open(&server, &[bearer(&user.token)]).await, open(&server, &[protocol(&user.token)]).await];
    let second_client = open(&server, &[bearer(&second)]).await;
    let mut third_client = open(&server, &[bearer(&third)]).await;
    let (_, mut other) = server.client("Patrick1").await;

    log_out(&server, &user.token).await;
    for client in first_clients {
        assert_eq!(client.closed().await, not_authorized());
    }
    delete(&server, &format!("/api/v1/auth/sessions/{second_session}"), &third).await;
    assert_eq!(second_client.closed().await, not_authorized());
    // What ended is over before the answer to its end, so one call shows who is left.
    assert_works(&mut third_client).await;
    delete(&server, "/api/v1/users/me", &third).await;
    assert_eq!(third_client.closed().await, not_authorized());
    assert_works(&mut other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticate_moves_a_socket_to_the_session_of_its_token() {
    let server = TestServer::start().await;
    let User { id, token: old, .. } = server.user("Patrick0").await;
    let (new, _) = server.sign_in(id, now() + 3600).await;
    let mut client = open(&server, &[bearer(&old)]).await;
    let reply = client.call("authenticate", json!({ "token": new })).await;
    assert_json_snapshot!(reply, @r#"
    {
      "id": 1,
      "params": {
        "data": null,
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "authenticate"
    }
    "#);
    log_out(&server, &old).await;
    assert_works(&mut client).await;
    log_out(&server, &new).await;
    assert_eq!(client.closed().await, not_authorized());
}
