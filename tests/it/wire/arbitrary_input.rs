//! Property tests over arbitrary input: what has to hold whatever a client sends.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{TestServer, User, eventually};

/// Runs a property against a live server; proptest itself does not await cases.
fn check<S: Strategy>(cases: u32, inputs: &S, property: &impl AsyncFn(&TestServer, &User, S::Value)) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    let user = runtime.block_on(server.create_user("Patrick0"));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(inputs, |input| {
        runtime.block_on(property(&server, &user, input));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Generates any text, with U+0000 and characters that need escaping among it.
fn any_text() -> impl Strategy<Value = String> {
    let any_char =
        prop_oneof![9 => any::<char>(), 1 => prop::sample::select(vec!['\0', '"', '\\', '\u{7f}', '\u{ffff}'])];
    prop::collection::vec(any_char, 0..40).prop_map(String::from_iter)
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any_text(), inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

/// Generates requests that get far: known types and fields with arbitrary values.
fn any_request() -> impl Strategy<Value = String> {
    let kinds = "listLastMessage getlatestMessageDialog getlatestMessageGroup newGroup addUserInGroup leaveGroup \
                 messageInGroup privateMessage authenticate";
    let fields = "receiverId groupId userId content groupName userIds limit page before clientMessageId token";
    let word = |words: &'static str| prop::sample::select(words.split(' ').collect::<Vec<_>>());
    let params = prop::collection::hash_map(word(fields), any_json(), 0..6);
    (word(kinds), params, any_json())
        .prop_map(|(kind, params, id)| json!({ "type": kind, "params": params, "id": id }).to_string())
}

#[test]
fn arbitrary_frames_get_a_reply_and_the_socket_stays_open() {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    let message = prop_oneof![
        any_request().prop_map(Message::text),
        any_request().prop_map(Message::binary),
        any_json().prop_map(|json| Message::text(json.to_string())),
        any_text().prop_map(Message::text),
        bytes(100).prop_map(Message::binary),
        bytes(126).prop_map(|payload| Message::Ping(payload.into())),
    ];
    check(100, &prop::collection::vec(message, 1..8), &async |server, user, messages| {
        let mut client = server.connect(user).await;
        let mut answers = 0;
        let bad_utf8 = |message: &Message| std::str::from_utf8(&message.clone().into_data()).is_err();
        let closes = messages.iter().any(|message| message.is_binary() && bad_utf8(message));
        for message in messages.iter().cloned() {
            client.send_ws_message(message).await;
        }
        client.send("listLastMessage", json!({})).await;
        loop {
            match client.next_message().await {
                Message::Text(text) => {
                    let reply: Value = serde_json::from_str(&text).expect("frames are JSON");
                    assert!(reply["success"] == true || reply["error"] == true, "{reply}");
                    assert_ne!(reply["code"], "internal", "{reply}");
                    answers += 1;
                }
                Message::Close(Some(end)) => break assert!(closes && u16::from(end.code) == 1007, "{end}"),
                Message::Pong(_) => {}
                other => panic!("not {other:?}"),
            }
            if answers > messages.iter().filter(|message| !message.is_ping()).count() {
                break assert!(!closes, "it goes on behind what is not UTF-8");
            }
        }
    });
}

#[test]
fn arbitrary_bytes_affect_no_other_socket() {
    check(50, &prop::collection::vec(any::<u8>(), 1..400), &async |server, user, bytes| {
        let mut client = server.connect(user).await;
        let mut beside = server.connect(user).await;
        client.tcp_stream().write_all(&bytes).await.expect("an open socket");
        client.tcp_stream().shutdown().await.expect("an open socket");
        assert_eq!(beside.call("listLastMessage", json!({})).await["success"], true);
        let hub = &server.server.app().delivery.hub;
        eventually("the socket has ended", async || hub.open_sockets() <= 1).await;
        let metrics = server.server.app().metrics.text();
        for closed in metrics.lines().filter_map(|line| line.strip_prefix("hark_sockets_closed_total{code=\"")) {
            assert!(["1000", "1002", "1007", "1009"].contains(&&closed[..4]), "{closed}");
        }
        drop(beside);
        eventually("all have ended", async || hub.open_sockets() == 0).await;
    });
}

#[test]
fn arbitrary_text_without_u0000_comes_back_unchanged() {
    check(100, &any_text(), &async |server, user, text| {
        let mut client = server.connect(user).await;
        let content = format!(" {text}\r\n");
        let reply = client.call("privateMessage", json!({ "receiverId": user.id, "content": content })).await;
        if text.contains('\0') {
            assert_eq!(reply["message"], "params.content must not contain U+0000");
        } else {
            let page = client.call("getlatestMessageDialog", json!({ "receiverId": user.id, "limit": 1 })).await;
            assert_eq!(page["params"]["data"][0]["content"], content);
        }
    });
}
