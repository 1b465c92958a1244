//! The envelope of frames: what every request, reply, push and error has in common.

use hark::config::Config;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, TestServer};

/// The largest id: every JSON reader represents it exactly.
const MAX_ID: i64 = (1 << 53) - 1;

/// Returns the code and the sentence of an error.
async fn refused(client: &mut Client, kind: &str, params: Value) -> (String, String) {
    let error = client.call(kind, params.clone()).await;
    assert_eq!((&error["error"], &error["type"]), (&json!(true), &json!(kind)), "{params}: {error}");
    let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("no {name} in {error}")).to_owned();
    (text("code"), text("message"))
}

async fn assert_refused(client: &mut Client, kind: &str, params: Value, message: &str) {
    let expected = ("bad_params".to_owned(), message.to_owned());
    assert_eq!(refused(client, kind, params.clone()).await, expected, "{kind} {params}");
}

/// Returns the text of the next frame as it came.
async fn text(client: &mut Client) -> String {
    match client.next_message().await {
        Message::Text(text) => text.to_string(),
        other => panic!("a text frame, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envelope_of_replies_pushes_and_errors_has_one_form() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let (other, mut receiver) = server.connect_user("Patrick1").await;

    let params = json!({ "receiverId": other.id, "content": "Hi" });
    let reply = client.call("privateMessage", params).await;
    assert_json_snapshot!(reply, { ".params.item" => "[receipt]" }, @r#"
    {
      "id": 1,
      "params": {
        "data": null,
        "item": "[receipt]",
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "privateMessage"
    }
    "#);
    assert_json_snapshot!(receiver.wait_for_push().await, { ".params.item" => "[message]" }, @r#"
    {
      "params": {
        "data": null,
        "item": "[message]",
        "message": "Hi",
        "senderName": "Patrick0"
      },
      "success": true,
      "type": "privateMessage"
    }
    "#);
    let page = client.call("listLastMessage", json!({})).await;
    assert_json_snapshot!(page, { ".params.data[]" => "[row]" }, @r#"
    {
      "id": 2,
      "params": {
        "data": [
          "[row]"
        ],
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "listLastMessage"
    }
    "#);
    let error = client.call("messageInGroup", json!({ "groupId": 1, "content": "Hi" })).await;
    assert_json_snapshot!(error, @r#"
    {
      "code": "not_found",
      "error": true,
      "id": 3,
      "message": "params.groupId: there is no such group",
      "type": "messageInGroup"
    }
    "#);
    client.send_text("{").await;
    assert_json_snapshot!(client.wait_for_reply().await, @r#"
    {
      "code": "bad_json",
      "error": true,
      "message": "The frame is not JSON",
      "type": "processor"
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_id_comes_back_unchanged() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let long = format!("\"{}\"", "x".repeat(5_000));
    let ids =
        ["17", "0", "-1", "1.50", "-0.5e+3", "12345678901234567890123", r#""a""#, r#""""#, r#""\u0000\"😀""#, &long];
    for id in ids {
        // The three are a success, an error in the parameters, and an error in the type.
        for start in
            [r#""type":"listLastMessage""#, r#""type":"listLastMessage","params":7"#, r#""type":"x""#, r#""a":1"#]
        {
            client.send_text(&format!(r#"{{"id" : {id} ,{start}}}"#)).await;
            let reply = text(&mut client).await;
            assert!(reply.contains(&format!(r#""id":{id}"#)), "{id} is not in {reply}");
        }
    }
    for no_id in
        [r#"{"type":"listLastMessage"}"#, r#"{"type":"listLastMessage","id":null}"#, r#"{"type":"x","id":null}"#]
    {
        client.send_text(no_id).await;
        assert_eq!(client.next_frame().await.get("id"), None, "{no_id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_request_is_refused_with_the_reason() {
    const NOT_JSON: (&str, &str, &str) = ("processor", "bad_json", "The frame is not JSON");
    const NOT_AN_OBJECT: (&str, &str, &str) =
        ("processor", "bad_frame", "The frame must be an object with type, params and id, each once");
    const NO_TYPE: (&str, &str, &str) = ("processor", "bad_frame", "type must be a string");
    const BAD_ID: (&str, &str, &str) = ("listLastMessage", "bad_frame", "id must be a string or a number");
    const BAD_PARAMS: (&str, &str, &str) = ("listLastMessage", "bad_params", "params must be an object");

    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let deep = "[".repeat(30_000);
    let nested = format!(r#"{{"type":"x","params":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    let cases = [
        ("", NOT_JSON),
        (" ", NOT_JSON),
        ("{", NOT_JSON),
        ("hello", NOT_JSON),
        (r#"{"type":"listLastMessage"} {}"#, NOT_JSON),
        (r#"{"type":"listLastMessage",}"#, NOT_JSON),
        (r#"{type:"listLastMessage"}"#, NOT_JSON),
        ("{'type':'listLastMessage'}", NOT_JSON),
        ("{\"type\":\"a\0\"}", NOT_JSON),
        (&deep, NOT_JSON),
        ("null", NOT_AN_OBJECT),
        ("7", NOT_AN_OBJECT),
        (r#""listLastMessage""#, NOT_AN_OBJECT),
        (r#"["listLastMessage",{},1]"#, NOT_AN_OBJECT),
        (r#"{"type":"listLastMessage","type":"newGroup"}"#, NOT_AN_OBJECT),
        (r#"{"type":"listLastMessage","id":1,"id":2}"#, NOT_AN_OBJECT),
        ("{}", NO_TYPE),
        (r#"{"Type":"listLastMessage"}"#, NO_TYPE),
        (r#"{"type":null,"params":{}}"#, NO_TYPE),
        (r#"{"type":7}"#, NO_TYPE),
        (r#"{"type":["listLastMessage"]}"#, NO_TYPE),
        (r#"{"type":"\ud800"}"#, NO_TYPE),
        (r#"{"type":"listLastMessage","id":{}}"#, BAD_ID),
        (r#"{"type":"listLastMessage","id":[1]}"#, BAD_ID),
        (r#"{"type":"listLastMessage","id":true}"#, BAD_ID),
        (r#"{"type":"listLastMessage","params":[]}"#, BAD_PARAMS),
        (r#"{"type":"listLastMessage","params":"{}"}"#, BAD_PARAMS),
        (r#"{"type":"listLastMessage","params":7}"#, BAD_PARAMS),
        (&nested, ("x", "unknown_type", "There is no such type")),
    ];
    for (frame, (kind, code, message)) in cases {
        client.send_text(frame).await;
        let error = client.wait_for_reply().await;
        assert_eq!(error, json!({ "error": true, "type": kind, "code": code, "message": message }), "{frame:.80}");
    }
    for fine in [r#" {"type":"listLastMessage"} "#, r#"{"type":"listLastMessage","params":null,"more":[1]}"#] {
        client.send_text(fine).await;
        assert_eq!(client.next_frame().await["success"], true, "{fine}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_type_is_echoed_in_its_error() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let unknown =
        ["", "noSuchType", "PrivateMessage", "privateMessage ", "processor", "\0", "\"\u{1f600}", &"x".repeat(9_000)];
    for kind in unknown {
        let expected = ("unknown_type".to_owned(), "There is no such type".to_owned());
        assert_eq!(refused(&mut client, kind, json!({ "receiverId": 1, "content": "Hi" })).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_params_error_names_the_field() {
    let server = TestServer::start().await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    let message = |content: Value| json!({ "receiverId": user.id, "content": content });
    let named = |id: Value| json!({ "receiverId": user.id, "content": "Hi", "clientMessageId": id });
    let cases = [
        ("privateMessage", json!({}), "params.receiverId is required"),
        ("privateMessage", json!({ "receiverId": null, "content": "Hi" }), "params.receiverId is required"),
        ("privateMessage", json!({ "receiverId": 1 }), "params.content is required"),
        ("privateMessage", message(json!(7)), "params.content must be a string"),
        ("privateMessage", message(json!("")), "params.content must be 1 to 16384 bytes"),
        ("privateMessage", message(json!("x".repeat(16_385))), "params.content must be 1 to 16384 bytes"),
        ("privateMessage", message(json!("é".repeat(8_193))), "params.content must be 1 to 16384 bytes"),
        ("privateMessage", message(json!("a\0b")), "params.content must not contain U+0000"),
        ("privateMessage", named(json!("")), "params.clientMessageId must be 1 to 64 characters"),
        ("privateMessage", named(json!("é".repeat(65))), "params.clientMessageId must be 1 to 64 characters"),
        ("privateMessage", named(json!("\0")), "params.clientMessageId must not contain U+0000"),
        ("privateMessage", named(json!(17)), "params.clientMessageId must be a string"),
        ("messageInGroup", json!({ "content": "Hi" }), "params.groupId is required"),
        ("messageInGroup", json!({ "groupId": 1, "content": {} }), "params.content must be a string"),
        ("newGroup", json!({}), "params.groupName is required"),
        ("newGroup", json!({ "groupName": "" }), "params.groupName must be 1 to 100 characters"),
        ("newGroup", json!({ "groupName": "é".repeat(101) }), "params.groupName must be 1 to 100 characters"),
        ("newGroup", json!({ "groupName": "\0" }), "params.groupName must not contain U+0000"),
        ("addUserInGroup", json!({ "userId": 1 }), "params.groupId is required"),
        ("addUserInGroup", json!({ "groupId": 1 }), "params.userId is required"),
        ("leaveGroup", json!({}), "params.groupId is required"),
        ("getlatestMessageDialog", json!({}), "params.receiverId is required"),
        ("getlatestMessageGroup", json!({}), "params.groupId is required"),
        ("authenticate", json!({}), "params.token is required"),
        ("authenticate", json!({ "token": 7 }), "params.token must be a string"),
    ];
    for (kind, params, message) in cases {
        assert_refused(&mut client, kind, params, message).await;
    }
    let too_many: Vec<i64> = (1..=1_001).collect();
    for ids in
        [json!(7), json!("1"), json!([0]), json!(["1"]), json!([1.5]), json!([null]), json!([[1]]), json!(too_many)]
    {
        let params = json!({ "groupName": "G", "userIds": ids });
        let message = "params.userIds must be a list of at most 1000 user ids";
        assert_refused(&mut client, "newGroup", params, message).await;
    }
    let groups = client.call("listLastMessage", json!({})).await;
    assert_eq!(groups["params"]["data"], json!([]), "nothing of it was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn number_params_have_ranges() {
    let server = TestServer::start().await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    let (me, not_integers) = (user.id, [json!("1"), json!("1.0"), json!(1.5), json!(true), json!([1]), json!({})]);
    let too_large = [json!(MAX_ID + 1), json!(u64::MAX), json!(1e17), json!(1e300)];
    let too_small = [json!(0), json!(-0.0), json!(-1), json!(-1.0), json!(1e-300), json!(i64::MIN)];
    let bad: Vec<&Value> = not_integers.iter().chain(&too_large).chain(&too_small).collect();
    for value in &bad {
        for kind in ["listLastMessage", "getlatestMessageDialog"] {
            let limit = json!({ "receiverId": me, "limit": value });
            assert_refused(&mut client, kind, limit, "params.limit must be an integer from 1 to 100").await;
            let page = json!({ "receiverId": me, "page": value });
            assert_refused(&mut client, kind, page, "params.page must be an integer from 1").await;
        }
        let before = json!({ "receiverId": me, "before": value });
        assert_refused(&mut client, "getlatestMessageDialog", before, "params.before must be an integer from 1").await;
        let receiver = json!({ "receiverId": value, "content": "Hi" });
        assert_refused(&mut client, "privateMessage", receiver, "params.receiverId must be an integer from 1").await;
        let group = json!({ "groupId": value });
        assert_refused(&mut client, "leaveGroup", group, "params.groupId must be an integer from 1").await;
    }
    let over = json!({ "limit": 101 });
    assert_refused(&mut client, "listLastMessage", over, "params.limit must be an integer from 1 to 100").await;
    let both = json!({ "receiverId": me, "page": 1, "before": 1 });
    assert_refused(&mut client, "getlatestMessageDialog", both, "params.before and page exclude each other").await;

    let good = [
        json!({ "limit": 1, "page": 1 }),
        json!({ "limit": 100, "page": MAX_ID }),
        json!({ "limit": null, "page": null, "before": null }),
        json!({ "before": 1 }),
        json!({ "before": MAX_ID, "page": null }),
        json!({ "unknown": { "limit": 0 }, "Limit": 0, "": null }),
    ];
    for mut params in good {
        params["receiverId"] = json!(me);
        let reply = client.call("getlatestMessageDialog", params.clone()).await;
        assert_eq!(reply["params"]["data"], json!([]), "{params}: {reply}");
    }
    let nobody = refused(&mut client, "privateMessage", json!({ "receiverId": MAX_ID, "content": "Hi" })).await;
    assert_eq!(nobody.0, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn number_params_without_a_fraction_are_integers_in_any_notation() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let others = [server.create_user("Bob").await, server.create_user("Cleo").await];
    assert_eq!(others.map(|user| user.id), [2, 3]);
    let mut success = async |kind: &str, params: &str| {
        client.send_text(&format!(r#"{{"type": "{kind}", "params": {params}, "id": 1}}"#)).await;
        let reply = client.wait_for_reply_to(1).await;
        assert_eq!(reply["success"], true, "{kind} {params}: {reply}");
        reply["params"].clone()
    };
    let group = success("newGroup", r#"{"groupName": "Tea", "userIds": [2.0, 0.3e1]}"#).await;
    assert_eq!(group["item"]["groupId"], 1);
    let receipt = success("messageInGroup", r#"{"groupId": 1.0, "content": "Hi"}"#).await;
    assert_eq!(receipt["item"]["seq"], 1);
    success("privateMessage", r#"{"receiverId": 2.000, "content": "Hi"}"#).await;
    success("replyMessage", r#"{"messageId": 10e-1, "content": "Hi too"}"#).await;
    for limit in ["5.0", "5e0", "1e2", "1E+2", "100.00"] {
        let page =
            success("getlatestMessageGroup", &format!(r#"{{"groupId": 1, "limit": {limit}, "page": 1.0}}"#)).await;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(2), "{page}");
    }
    let before = success("getlatestMessageGroup", r#"{"groupId": 1, "limit": 1.0, "before": 2.0}"#).await;
    assert_eq!(before["data"][0]["seq"], 1);
    let read = success("readMessages", r#"{"groupId": 1, "seq": 2.0}"#).await;
    assert_eq!(read["item"]["seq"], 2);
    success("getOnlineInfo", r#"{"userIds": [2.0]}"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_params_follow_the_settings() {
    let server = TestServer::start_with(|config: &mut Config| {
        config.limits.max_page_rows = 3;
        config.limits.max_content_bytes = 4;
        config.limits.max_group_name_chars = 2;
    })
    .await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    let message = |content: &str| json!({ "receiverId": user.id, "content": content });
    for _ in 0..4 {
        assert_eq!(client.call("privateMessage", message("😀")).await["success"], true);
    }
    assert_refused(&mut client, "privateMessage", message("😀."), "params.content must be 1 to 4 bytes").await;
    let page = client.call("getlatestMessageDialog", json!({ "receiverId": user.id })).await;
    assert_eq!(page["params"]["data"].as_array().map(Vec::len), Some(3));
    let over = json!({ "limit": 4 });
    assert_refused(&mut client, "listLastMessage", over, "params.limit must be an integer from 1 to 3").await;
    assert_eq!(client.call("newGroup", json!({ "groupName": "😀😀" })).await["success"], true);
    let long = json!({ "groupName": "abc" });
    assert_refused(&mut client, "newGroup", long, "params.groupName must be 1 to 2 characters").await;
}
