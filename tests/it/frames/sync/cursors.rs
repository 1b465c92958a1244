//! Cursors: valid ones, those of another clock or epoch, and arbitrary text.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::helpers::{DatabaseWriter, changes_since, cursor, kinds};
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn sync_with_a_cursor_of_another_clock_is_incomplete() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    for nth in 0..3 {
        ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": nth.to_string() })).await;
    }
    let before = cursor(&mut bob_client).await;
    DatabaseWriter::of(&server).await.fake_restore().await;
    // A node that starts notices, and so does one that runs, with its connected clients.
    let server = server.restarted().await;
    drop((ann_client, bob_client));
    let (mut ann, mut bob_client) = (server.connect(&ann).await, server.connect(&bob).await);
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "1" })).await;

    let reply = bob_client.call("sync", json!({ "cursor": before })).await;
    let (data, item) = (&reply["params"]["data"], &reply["params"]["item"]);
    assert_eq!((data, &item["more"], &item["complete"]), (&json!([]), &json!(false), &json!(false)));
    // The new cursor is valid, with numbers that begin again above the old ones.
    let fresh = item["cursor"].clone();
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "2" })).await;
    assert_eq!(kinds(&changes_since(&mut bob_client, &fresh, 1).await.0), ["privateMessage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_with_a_cursor_of_the_future_is_incomplete() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let here = epoch(&cursor(&mut ann).await);
    for bad in [
        &format!("{here}.5:9000000000000000000:"),
        &format!("{here}.9000000000000000000:18446744073709551615:"),
        &format!("{here}.3:3:.5:9000000000000000000:.1-2-3-0"),
        &format!("{here}.5:9000000000000000000:.3:3:.1-2-3-0"),
        "0.3:3:",
        "9223372036854775807.3:3:",
    ] {
        let reply = ann.call("sync", json!({ "cursor": bad })).await;
        assert_eq!(reply["params"]["item"]["complete"], false, "{bad}: {reply}");
        let fresh = &reply["params"]["item"]["cursor"];
        assert!(fresh.as_str().is_some_and(|cursor| cursor.starts_with(&format!("{here}."))), "{fresh}");
        assert_eq!(ann.call("sync", json!({ "cursor": fresh })).await["params"]["item"]["complete"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_refuses_a_malformed_cursor() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let cases = [
        (json!({ "cursor": "" }), "params.cursor must be 1 to 16384 characters"),
        (json!({ "cursor": "1".repeat(16_385) }), "params.cursor must be 1 to 16384 characters"),
        (json!({ "cursor": "1\0" }), "params.cursor must not contain U+0000"),
        (json!({ "cursor": 7 }), "params.cursor must be a string"),
        (json!({ "cursor": "now" }), "params.cursor is not one of ours"),
        (json!({ "cursor": "1.4294967296:4294967296:" }), "params.cursor is not one of ours"),
        (json!({ "cursor": "1.3:9:9" }), "params.cursor is not one of ours"),
        (json!({ "limit": 0 }), "params.limit must be an integer from 1 to 100"),
        (json!({ "limit": 101 }), "params.limit must be an integer from 1 to 100"),
    ];
    for (params, sentence) in cases {
        let error = ann.call("sync", params).await;
        assert_eq!((&error["code"], &error["message"]), (&json!("bad_params"), &json!(sentence)));
    }
    assert_eq!(ann.call("sync", json!({ "cursor": null })).await["params"]["item"]["complete"], true);
}

/// Returns the epoch with which the cursors of this database begin at present.
fn epoch(cursor: &Value) -> String {
    let (epoch, _) = cursor.as_str().and_then(|cursor| cursor.split_once('.')).expect("a cursor");
    epoch.to_owned()
}

/// Generates texts that resemble cursors of an epoch.
fn any_cursor(here: String) -> impl Strategy<Value = String> {
    let amid = here.clone();
    let number = || prop_oneof![4 => 0..900_u64, 1 => any::<u64>(), 1 => Just(1 << 32), 1 => Just(i64::MAX as u64)];
    let snapshot = move || {
        (number(), number(), prop::collection::vec(number(), 0..4)).prop_map(|(one, other, mut list)| {
            list.sort_unstable();
            let list: Vec<String> = list.iter().map(u64::to_string).collect();
            format!("{}:{}:{}", one.min(other), one.max(other), list.join(","))
        })
    };
    let place = (number(), 0..7_u32, number(), number()).prop_map(|(a, b, c, d)| format!("{a}-{b}-{c}-{d}"));
    prop_oneof![
        snapshot().prop_map(move |base| format!("{here}.{base}")),
        (snapshot(), snapshot(), place)
            .prop_map(move |(base, target, place)| format!("{amid}.{base}.{target}.{place}")),
        "[0-9.:,-]{1,40}",
        "\\PC{1,20}",
    ]
}

#[test]
fn sync_survives_arbitrary_cursors() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    let (client, here) = runtime.block_on(async {
        let (ann, mut client) = server.connect_user("Ann").await;
        let bob = server.create_user("Bob").await;
        client.call("newGroup", json!({ "groupName": "G", "userIds": [bob.id] })).await;
        for nth in 0..5 {
            client.call("privateMessage", json!({ "receiverId": bob.id, "content": nth.to_string() })).await;
            client.call("messageInGroup", json!({ "groupId": 1, "content": nth.to_string() })).await;
        }
        let mut database = DatabaseWriter::of(&server).await;
        for conversation in [1, 2] {
            database.edit(conversation, 2, "two").await;
            database.read(conversation, ann.id, 2, 3).await;
        }
        let here = epoch(&cursor(&mut client).await);
        (RefCell::new(client), here)
    });
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&any_cursor(here), |text| {
        let reply: Value = runtime.block_on(client.borrow_mut().call("sync", json!({ "cursor": text })));
        prop_assert!(reply["success"] == true || reply["code"] == "bad_params", "{}: {}", text, reply);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
